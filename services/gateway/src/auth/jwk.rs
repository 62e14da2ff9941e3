//! JWK sets (RFC 7517).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    algorithm::Algorithm,
    key::{BadKey, Key, KeySet, MAX_KEYS},
};

/// Why a key that is private or symmetric is not used.
pub(super) const SECRET: &str = "it is private or symmetric";

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

/// Reads a set. One key that is not understood does not spoil it: sets of others have keys for other purposes.
pub(super) fn parse(text: &str) -> Result<KeySet, BadKey> {
    let set: Set<'_> = serde_json::from_str(text).map_err(|_| BadKey("it must be a JWK set: {\"keys\": […]}"))?;
    let mut read = KeySet::default();
    for json in set.keys {
        let key = serde_json::from_str::<Jwk>(json.get()).map_err(|_| BadKey("it is not a JWK")).and_then(Jwk::key);
        match key {
            Ok(_) if read.keys.len() == MAX_KEYS => read.skipped.push("there are 64 keys before it"),
            Ok(key) => read.keys.push(key),
            Err(BadKey(reason)) => read.skipped.push(reason),
        }
    }
    Ok(read)
}

impl Jwk {
    fn key(self) -> Result<Key, BadKey> {
        if self.d.is_some() || self.k.is_some() || self.kty == "oct" {
            return Err(BadKey(SECRET));
        }
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return Err(BadKey("it is not for signatures"));
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&decode(self.n)?, &decode(self.e)?)?,
            ("EC", Some("P-256")) => Key::p256(&[&[4], &*decode(self.x)?, &*decode(self.y)?].concat())?,
            ("OKP", Some("Ed25519")) => Key::ed25519(&decode(self.x)?)?,
            _ => return Err(BadKey("its type is not RSA, EC P-256 or OKP Ed25519")),
        };
        if self.alg.is_some_and(|alg| Algorithm::named(&alg) != Some(key.algorithm)) {
            return Err(BadKey("its alg is not RS256, ES256 or EdDSA, as its type asks for"));
        }
        Ok(Key { id: self.kid.map(String::into_boxed_str), ..key })
    }
}

fn decode(number: Option<String>) -> Result<Vec<u8>, BadKey> {
    const BAD: BadKey = BadKey("a part of it is missing or not base64url");
    number.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok()).ok_or(BAD)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::testing::Issuer;

    fn parsed(keys: &[Value]) -> KeySet {
        parse(&json!({ "keys": keys }).to_string()).unwrap()
    }

    #[test]
    fn keys_of_three_types_are_read_with_the_algorithm_of_their_type() {
        let keys = [Issuer::ed25519("a").jwk(), Issuer::p256("b").jwk(), Issuer::rsa("c").jwk()];
        let set = parsed(&keys);
        let found: Vec<_> = set.keys.iter().map(|key| (key.id.as_deref(), key.algorithm)).collect();
        assert_eq!(
            found,
            [(Some("a"), Algorithm::EdDsa), (Some("b"), Algorithm::Es256), (Some("c"), Algorithm::Rs256)]
        );
        assert_eq!(set.skipped, [""; 0]);
    }

    #[test]
    fn what_is_not_for_us_is_skipped_and_the_rest_used() {
        let with = |member: &str, value: Value| {
            let mut jwk = Issuer::ed25519("a").jwk();
            jwk[member] = value;
            jwk
        };
        let cases = [
            (json!(1), "it is not a JWK"),
            (with("use", json!("enc")), "it is not for signatures"),
            (with("key_ops", json!(["sign"])), "it is not for signatures"),
            (with("alg", json!("ES256")), "its alg is not RS256, ES256 or EdDSA, as its type asks for"),
            (with("alg", json!("Ed448")), "its alg is not RS256, ES256 or EdDSA, as its type asks for"),
            (with("crv", json!("Ed448")), "its type is not RSA, EC P-256 or OKP Ed25519"),
            (with("kty", json!("PQC")), "its type is not RSA, EC P-256 or OKP Ed25519"),
            (with("x", json!("AAAA")), "an Ed25519 key must have 32 bytes"),
            (with("x", json!("+")), "a part of it is missing or not base64url"),
            (with("d", json!("AAAA")), SECRET),
            (json!({"kty": "oct", "k": "AAAA"}), SECRET),
            (json!({"kty": "RSA", "n": "AAAA", "e": "AQAB"}), "an RSA key must have 2048 to 8192 bits"),
        ];
        for (jwk, reason) in cases {
            let set = parsed(&[jwk.clone(), Issuer::ed25519("good").jwk()]);
            assert_eq!(set.skipped, [reason], "{jwk}");
            assert_eq!(set.ids(), ["good"]);
        }
        assert_eq!(parsed(&[with("alg", json!("EdDSA")), with("use", json!("sig"))]).keys.len(), 2);
    }

    #[test]
    fn a_set_is_bounded_and_anything_else_is_none() {
        let set = parsed(&vec![Issuer::ed25519("a").jwk(); MAX_KEYS + 1]);
        assert_eq!((set.keys.len(), set.skipped.len()), (MAX_KEYS, 1));
        for text in ["", "[]", "{}", r#"{"keys":1}"#, "<html>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
