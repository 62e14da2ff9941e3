//! The payload of a token whose signature is right, read claim by claim.

use std::{borrow::Cow, collections::HashMap};

use rollcall_protocol::{Info, UserId, ids::check_id};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Identity, LEEWAY_S, rejection::Rejection, rights::Rights, strict};

/// 2^53: the end of whole seconds in a JSON number, some hundred million years away.
const MAX_SECONDS: f64 = (1_u64 << 53) as f64;

/// What is asked of a payload beyond what the library checks (`exp`, `nbf`, `iss`, `aud`).
#[derive(Debug)]
pub(super) struct Rules {
    /// The longest life, in seconds.
    pub(super) max_age_s: u64,
    /// The rights of a token without the claim `rooms`.
    pub(super) default_rights: Rights,
}

impl Rules {
    /// Who the payload says that the client is. `now` is in seconds since 1970.
    pub(super) fn identify(&self, payload: &str, now: u64) -> Result<Identity, Rejection> {
        if !strict::is_object(payload) {
            return Err(Rejection::Payload);
        }
        let claims: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(payload).map_err(|_| Rejection::Payload)?;
        let claims = Claims(claims);
        let expires_at = claims.seconds("exp")?.ok_or_else(|| Rejection::missing("exp"))?;
        let issued_at = claims.seconds("iat")?;
        claims.seconds("nbf")?;
        claims.text("iss")?;
        claims.check_audience()?;
        self.check_age(issued_at, expires_at, now)?;
        let user = claims.id("sub")?.ok_or_else(|| Rejection::missing("sub"))?;
        let rights = match claims.0.get("rooms") {
            Some(rooms) => Rights::parse(rooms.get()).map_err(Rejection::rooms)?,
            None => self.default_rights.clone(),
        };
        Ok(Identity {
            user: UserId::from(user),
            info: claims.info()?,
            rights,
            token_id: claims.id("jti")?.map(String::into_boxed_str),
            issued_at,
            expires_at,
        })
    }

    fn check_age(&self, issued_at: Option<u64>, expires_at: u64, now: u64) -> Result<(), Rejection> {
        if issued_at.is_some_and(|issued_at| issued_at > now + LEEWAY_S) {
            return Err(Rejection::wrong("iat", "not lie in the future"));
        }
        // A token of an issuer whose clock is ahead within the leeway is not too old.
        let leeway = if issued_at.is_some() { 0 } else { LEEWAY_S };
        if expires_at.saturating_sub(issued_at.unwrap_or(now)) > self.max_age_s + leeway {
            let must = format!("be at most {} s after its iat, or after now without one", self.max_age_s);
            return Err(Rejection::wrong("exp", &must));
        }
        Ok(())
    }
}

struct Claims<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Claims<'a> {
    /// A claim of the type `T`. `null` is a wrong type, not an absent claim.
    fn read<T: Deserialize<'a>>(&self, name: &str, must: &str) -> Result<Option<T>, Rejection> {
        let read = |json: &&'a RawValue| serde_json::from_str(json.get()).map_err(|_| Rejection::wrong(name, must));
        self.0.get(name).map(read).transpose()
    }

    /// A time, rounded down: RFC 7519 allows fractions of a second.
    fn seconds(&self, name: &str) -> Result<Option<u64>, Rejection> {
        const MUST: &str = "be a number of seconds since 1970";
        let seconds: Option<f64> = self.read(name, MUST)?;
        match seconds {
            Some(seconds) if !(0.0..=MAX_SECONDS).contains(&seconds) => Err(Rejection::wrong(name, MUST)),
            seconds => Ok(seconds.map(|seconds| seconds as u64)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Rejection> {
        self.read(name, "be a text")
    }

    /// The library lets an `aud` of a wrong type pass where no audience is set.
    fn check_audience(&self) -> Result<(), Rejection> {
        const MUST: &str = "be a text or a list of texts";
        match self.read("aud", MUST)? {
            None | Some(Value::String(_)) => Ok(()),
            Some(Value::Array(all)) if all.iter().all(Value::is_string) => Ok(()),
            Some(_) => Err(Rejection::wrong("aud", MUST)),
        }
    }

    /// A text that may name something.
    fn id(&self, name: &'static str) -> Result<Option<String>, Rejection> {
        let id = self.text(name)?;
        if let Some(id) = &id {
            check_id(name, id).map_err(|fault| Rejection::Claim(format!("the token's {}", fault.message).into()))?;
        }
        Ok(id)
    }

    fn info(&self) -> Result<Option<Info>, Rejection> {
        let Some(json) = self.0.get("info") else { return Ok(None) };
        Info::new(json).map(Some).map_err(|fault| Rejection::Claim(format!("the token's {}", fault.message).into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use rollcall_protocol::limits::MAX_INFO_BYTES;

    use super::*;
    use crate::auth::Right;

    const NOW: u64 = 1_800_000_000;

    fn identify(payload: &str) -> Result<Identity, Rejection> {
        let default_rights = Rights::parse(r#"[{"room":"lobby","allow":["join"]}]"#).unwrap();
        Rules { max_age_s: 3_600, default_rights }.identify(payload, NOW)
    }

    fn with(claims: Value) -> Result<Identity, Rejection> {
        let mut payload = json!({"sub": "ann", "exp": NOW + 600, "iat": NOW});
        payload.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        identify(&payload.to_string())
    }

    fn sentence(result: Result<Identity, Rejection>) -> String {
        rollcall_protocol::Fault::from(result.unwrap_err()).message
    }

    #[test]
    fn a_payload_says_who_the_client_is() {
        let identity = identify(
            r#"{"sub":"ann","exp":1800000600.9,"iat":1.8e9,"nbf":1,"jti":"j-1","aud":["a"],"iss":"i","else":[1],
                "info": {"name" : "A \"n\"\tn", "n": 1.50, "e":"\n x"},
                "rooms":[{"room":"doc:*","allow":["join","lock"]}]}"#
                .replace('\t', "\\t")
                .as_str(),
        )
        .unwrap();
        assert_eq!(identity.user.as_str(), "ann");
        assert_eq!((identity.expires_at, identity.issued_at), (NOW + 600, Some(NOW)));
        assert_eq!(identity.token_id.as_deref(), Some("j-1"));
        assert_eq!(identity.info.unwrap().as_str(), r#"{"name":"A \"n\"\tn","n":1.50,"e":"\n x"}"#);
        assert!(identity.rights.allow(Right::Lock, "doc:1"));
        assert!(!identity.rights.allow(Right::Join, "lobby"), "the claim replaces the default");
    }

    #[test]
    fn what_may_be_absent_may_be_absent() {
        let identity = identify(r#"{"sub":"ann","exp":1800000600}"#).unwrap();
        assert!(identity.info.is_none() && identity.token_id.is_none() && identity.issued_at.is_none());
        assert!(identity.rights.allow(Right::Join, "lobby"));
        assert!(!with(json!({"rooms": []})).unwrap().rights.allow(Right::Join, "lobby"));
    }

    #[test]
    fn missing_and_wrong_claims_are_named() {
        assert_eq!(
            sentence(identify(r#"{"sub":"ann"}"#)),
            "the token must have the claim exp, a number of seconds since 1970"
        );
        assert_eq!(sentence(identify(r#"{"exp":1800000600}"#)), "the token must have the claim sub, a text");
        for exp in [r#""1800000600""#, "null", "true", "[1800000600]", "-1", "1e300"] {
            let refused = sentence(identify(&format!(r#"{{"sub":"ann","exp":{exp}}}"#)));
            assert_eq!(refused, "the token's exp must be a number of seconds since 1970", "{exp}");
        }
        for (claims, start) in [
            (json!({"sub": ""}), "the token's sub must not be empty"),
            (json!({"sub": 7}), "the token's sub must be a text"),
            (json!({"sub": "a\nb"}), "the token's sub must not contain control characters"),
            (json!({"sub": "x".repeat(257)}), "the token's sub must be at most 256 bytes"),
            (json!({"jti": 7}), "the token's jti must be a text"),
            (json!({"jti": "x".repeat(257)}), "the token's jti must be at most 256 bytes"),
            (json!({"iss": ["i"]}), "the token's iss must be a text"),
            (json!({"nbf": "1"}), "the token's nbf must be a number"),
            (json!({"iat": null}), "the token's iat must be a number"),
            (json!({"info": "x"}), "the token's info must be an object"),
            (json!({"info": null}), "the token's info must be an object"),
            (json!({"rooms": null}), "the token's rooms must be a list"),
            (json!({"rooms": [{"room": "a*", "allow": []}]}), "the token's rooms has a wrong entry [0]: * must be"),
        ] {
            let refused = sentence(with(claims.clone()));
            assert!(refused.starts_with(start), "{claims}: {refused}");
        }
    }

    #[test]
    fn duplicate_claims_are_refused() {
        for payload in [
            r#"{"sub":"ann","exp":1800000600,"sub":"bob"}"#,
            r#"{"sub":"ann","exp":1,"\u0065xp":1800000600}"#,
            r#"{"sub":"ann","exp":1800000600,"info":{"a":1,"a":2}}"#,
            r#"[1800000600,0,"ann"]"#,
        ] {
            assert_eq!(identify(payload).unwrap_err(), Rejection::Payload, "{payload}");
        }
    }

    #[test]
    fn a_token_lives_at_most_as_long_as_it_may() {
        assert!(with(json!({"exp": NOW + 3_600})).is_ok());
        assert!(sentence(with(json!({"exp": NOW + 3_601}))).contains("at most 3600 s after its iat"));
        assert!(with(json!({"iat": NOW - 3_000, "exp": NOW + 600})).is_ok());
        assert!(with(json!({"iat": NOW - 3_001, "exp": NOW + 600})).is_err());
        assert!(with(json!({"iat": NOW + LEEWAY_S, "exp": NOW + LEEWAY_S + 3_600})).is_ok());
        assert!(sentence(with(json!({"iat": NOW + LEEWAY_S + 1}))).contains("iat must not lie in the future"));
        assert!(identify(&json!({"sub": "ann", "exp": NOW + 3_600 + LEEWAY_S}).to_string()).is_ok());
        assert!(identify(&json!({"sub": "ann", "exp": NOW + 3_601 + LEEWAY_S}).to_string()).is_err());
    }

    #[test]
    fn info_is_measured_without_spaces() {
        let sized = |bytes: usize| json!({"info": {"a": "x".repeat(bytes - r#"{"a":""}"#.len())}});
        assert!(with(sized(MAX_INFO_BYTES)).is_ok());
        assert!(sentence(with(sized(MAX_INFO_BYTES + 1))).contains("info must be at most 2048 bytes"));
        let spaced = format!(r#"{{"sub":"ann","exp":{},"info":{{{}}}}}"#, NOW + 1, " \n".repeat(2_000));
        assert_eq!(identify(&spaced).unwrap().info.unwrap().as_str(), "{}");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".{0,200}") {
            let _ = identify(&payload);
        }
    }
}
