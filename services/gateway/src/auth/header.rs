//! The header of a token. It selects a key; everything else is decided by the key.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{MAX_TOKEN_BYTES, algorithm::Algorithm, rejection::Rejection, strict};

/// What a token's header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `alg`
    pub(super) algorithm: Algorithm,
    /// `kid`
    pub(super) kid: Option<String>,
}

impl Header {
    /// Reads the header of `token` and checks the token's form. Other members (`typ`, `jku`, `jwk`, `x5u`, …) are ignored: a
    /// token does not bring its own key.
    pub(super) fn of(token: &str) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Rejection::Form);
        };
        let header = BASE64_URL_SAFE_NO_PAD.decode(header).map_err(|_| Rejection::Form)?;
        let header =
            str::from_utf8(&header).ok().filter(|header| strict::is_object(header)).ok_or(Rejection::Header)?;
        let header: Map<String, Value> = serde_json::from_str(header).map_err(|_| Rejection::Header)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Rejection::Extension);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Rejection::Header),
        };
        Ok(Self { algorithm: algorithm.ok_or(Rejection::Algorithm)?, kid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<Header, Rejection> {
        Header::of(&format!("{}.e30.c2ln", BASE64_URL_SAFE_NO_PAD.encode(header)))
    }

    #[test]
    fn a_header_names_an_algorithm_and_perhaps_a_key() {
        let expected = |algorithm, kid: Option<&str>| Ok(Header { algorithm, kid: kid.map(str::to_owned) });
        assert_eq!(read(r#"{"alg":"HS256","typ":"JWT"}"#), expected(Algorithm::Hs256, None));
        assert_eq!(read(r#"{"kid":"k","alg":"EdDSA","jwk":{},"jku":"x"}"#), expected(Algorithm::EdDsa, Some("k")));
    }

    #[test]
    fn what_is_no_header_of_ours_is_refused() {
        for header in ["", "[]", "1", "{", r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"alg":"HS256","kid":1}"#] {
            assert_eq!(read(header), Err(Rejection::Header), "{header}");
        }
        for alg in ["none", "None", "hs256", "HS512", "PS256", "ES384", ""] {
            assert_eq!(read(&format!(r#"{{"alg":"{alg}"}}"#)), Err(Rejection::Algorithm), "{alg}");
        }
        assert_eq!(read(r#"{"alg":1}"#), Err(Rejection::Algorithm));
        assert_eq!(read(r#"{"kid":"k"}"#), Err(Rejection::Algorithm));
        for extension in [r#""crit":["b64"],"b64":false"#, r#""b64":true"#, r#""crit":null"#] {
            assert_eq!(read(&format!(r#"{{"alg":"HS256",{extension}}}"#)), Err(Rejection::Extension));
        }
    }

    #[test]
    fn a_token_has_three_parts_and_a_limit() {
        for token in ["", "a", "e30.e30", "e30.e30.e30.e30", "!.e30.e30", "e30=.e30.e30", "é.e30.e30"] {
            assert_eq!(Header::of(token), Err(Rejection::Form), "{token}");
        }
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let sized = |bytes: usize| format!("{header}..{}", "a".repeat(bytes - header.len() - 2));
        assert!(Header::of(&sized(MAX_TOKEN_BYTES)).is_ok());
        assert_eq!(Header::of(&sized(MAX_TOKEN_BYTES + 1)), Err(Rejection::TooLarge));
    }
}
