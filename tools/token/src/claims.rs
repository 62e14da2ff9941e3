//! What a token says, and its signature. docs/reference/auth.md explains the claims.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde::Serialize;
use serde_json::value::RawValue;

/// The payload.
#[derive(Default, Serialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<Box<RawValue>>,
    pub(crate) rooms: Vec<Grant>,
}

/// An entry of `rooms`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Grant {
    room: String,
    allow: Vec<String>,
}

/// The rights that a gateway knows. It refuses a token with any other.
const RIGHTS: [&str; 5] = ["join", "observe", "metadata:read", "metadata:write", "lock"];

impl Grant {
    /// Reads `PATTERN=RIGHT,RIGHT`. A room's name may have `=`, a right has none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (room, rights) = text
            .rsplit_once('=')
            .filter(|(room, rights)| !room.is_empty() && !rights.is_empty())
            .ok_or_else(|| format!("--room must be like 'doc:*=join,lock', not '{text}'"))?;
        let allow: Vec<_> = rights.split(',').map(|right| right.trim().to_owned()).collect();
        if let Some(unknown) = allow.iter().find(|right| !RIGHTS.contains(&right.as_str())) {
            return Err(format!("there is no right '{unknown}'; there are {}", RIGHTS.join(", ")));
        }
        Ok(Self { room: room.to_owned(), allow })
    }
}

impl Claims {
    /// The token, signed by HS256.
    pub(crate) fn sign(&self, secret: &[u8]) -> Result<String, String> {
        let payload = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(&payload));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        Ok(format!("{message}.{}", encode(signature.as_ref())))
    }
}

/// A JSON object, as it was written.
pub(crate) fn object(text: String) -> Result<Box<RawValue>, String> {
    let object = RawValue::from_string(text).ok().filter(|json| json.get().starts_with('{'));
    object.ok_or_else(|| "--info must be a JSON object, like '{\"name\":\"Ann\"}'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_with_rights() {
        let grant = |room: &str, allow: &[&str]| Grant {
            room: room.to_owned(),
            allow: allow.iter().map(|right| (*right).to_owned()).collect(),
        };
        assert_eq!(Grant::parse("doc:*=join,lock"), Ok(grant("doc:*", &["join", "lock"])));
        assert_eq!(Grant::parse("a=b=metadata:read, observe"), Ok(grant("a=b", &["metadata:read", "observe"])));
        for text in ["", "doc", "=join", "doc=", "doc=joins", "doc=join,"] {
            assert!(Grant::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_signed() {
        let info = Some(object(r#"{"name":"Ann","a":1}"#.to_owned()).unwrap());
        let rooms = vec![Grant::parse("doc:*=join").unwrap()];
        let claims = Claims { sub: "ann".to_owned(), iat: 1, exp: 2, jti: Some("j".to_owned()), info, rooms };
        let token = claims.sign(b"a secret of at least 32 bytes ...").unwrap();
        let parts: Vec<_> = token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!(parts[0], br#"{"alg":"HS256","typ":"JWT"}"#);
        let payload = r#"{"sub":"ann","iat":1,"exp":2,"jti":"j","info":{"name":"Ann","a":1},"rooms":[{"room":"doc:*","allow":["join"]}]}"#;
        assert_eq!(str::from_utf8(&parts[1]).unwrap(), payload);
        // As openssl dgst -sha256 -hmac computes it.
        assert_eq!(token.rsplit('.').next().unwrap(), "9cFSzzFu46x_WqjB5NNb01_E8phEDf39VUPBYf3xNgw");
    }
}
