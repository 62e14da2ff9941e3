//! What is read of tokens and keys before and after their signatures, for the targets of `fuzz/`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{claims::Rules, header::Header, jwk, pem, rights::Rights};

const NOW: u64 = 1_700_000_000;

/// Reads a token of these parts as if its signature were right.
pub(crate) fn token(header: &str, payload: &str) {
    let [head, body] = [header, payload].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let _ = (Header::of(&format!("{head}.{body}.")), Header::of(header));
    let rules = Rules { max_age_s: 86_400, default_rights: Rights::default() };
    if let Ok(identity) = rules.identify(payload, NOW) {
        assert!(identity.expires_at <= NOW + 86_400 * 2, "a token that outlives its longest life");
    }
}

/// Reads a file of keys, or what a URL of keys answers.
pub(crate) fn keys(text: &str) {
    let _ = (jwk::parse(text), pem::parse(text));
}
