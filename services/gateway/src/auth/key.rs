//! One key, and the keys of one source.

use std::fmt;

use jsonwebtoken::DecodingKey;

use super::algorithm::Algorithm;

/// The most keys of one source.
pub(super) const MAX_KEYS: usize = 64;
/// How many keys one token is tried with, if none has its `kid`: checking a signature costs up to 0.1 ms.
pub(super) const MAX_TRIES: usize = 4;
/// The shortest secret: the size of what HMAC with SHA-256 makes of it (RFC 7518, 3.2).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// A key that signatures are checked with.
pub(super) struct Key {
    /// `kid`
    pub(super) id: Option<Box<str>>,
    /// The only algorithm that it is used with.
    pub(super) algorithm: Algorithm,
    /// What the library takes.
    pub(super) decoding: DecodingKey,
}

/// A key that cannot be used. The sentence says how it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadKey(pub(super) &'static str);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Key {
    /// HS256.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, BadKey> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(BadKey("a secret must have at least 32 bytes"));
        }
        Ok(Self::new(Algorithm::Hs256, DecodingKey::from_secret(secret)))
    }

    /// RS256: modulus and exponent, most significant byte first.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        // ring, which checks the signatures, takes nothing else.
        if !(256..=1_024).contains(&modulus.len()) || modulus[0] & 0x80 == 0 && modulus.len() == 256 {
            return Err(BadKey("an RSA key must have 2048 to 8192 bits"));
        }
        if !(1..=4).contains(&exponent.len()) {
            return Err(BadKey("the exponent of an RSA key must have at most 32 bits"));
        }
        Ok(Self::new(Algorithm::Rs256, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    /// ES256: an uncompressed point on P-256.
    pub(super) fn p256(point: &[u8]) -> Result<Self, BadKey> {
        if point.len() != 65 || point[0] != 4 {
            return Err(BadKey("a P-256 key must be an uncompressed point of 65 bytes"));
        }
        Ok(Self::new(Algorithm::Es256, DecodingKey::from_ec_der(point)))
    }

    /// EdDSA.
    pub(super) fn ed25519(key: &[u8]) -> Result<Self, BadKey> {
        if key.len() != 32 {
            return Err(BadKey("an Ed25519 key must have 32 bytes"));
        }
        Ok(Self::new(Algorithm::EdDsa, DecodingKey::from_ed_der(key)))
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self { id: None, algorithm, decoding }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// The keys of one source.
#[derive(Default)]
pub(super) struct KeySet {
    /// In the order of the source.
    pub(super) keys: Vec<Key>,
    /// For each key that is not used: why.
    pub(super) skipped: Vec<&'static str>,
}

impl KeySet {
    /// Whether a key has this `kid`.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(kid))
    }

    /// The keys that may have signed a token with this `kid`: those of that name, or those without a name.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let is_named = kid.is_some_and(|kid| self.has(kid));
        self.keys.iter().filter(move |key| match kid {
            Some(_) if is_named => key.id.as_deref() == kid,
            Some(_) => key.id.is_none(),
            None => true,
        })
    }

    /// Logs which keys are used from now on: their names, never the keys.
    pub(super) fn log(&self) {
        tracing::info!(keys = self.keys.len(), kids = ?self.ids(), "keys for tokens loaded");
        if let Some(first) = self.skipped.first() {
            tracing::warn!(keys = self.skipped.len(), first, "keys for tokens skipped");
        }
    }

    /// The names of the keys, for the log: those of ten, each shortened to 64 characters.
    pub(super) fn ids(&self) -> Vec<String> {
        let id = |key: &Key| key.id.as_deref().unwrap_or("-").chars().take(64).collect();
        self.keys.iter().take(10).map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        assert!(Key::secret(&[7; 32]).is_ok() && Key::secret(&[7; 31]).is_err());
        assert!(Key::ed25519(&[7; 32]).is_ok() && Key::ed25519(&[7; 33]).is_err());
        assert!(Key::p256(&[4; 65]).is_ok() && Key::p256(&[2; 65]).is_err() && Key::p256(&[4; 64]).is_err());
        let rsa = |bytes: usize, first: u8| {
            let mut modulus = vec![0xff; bytes];
            modulus[0] = first;
            Key::rsa(&modulus, &[1, 0, 1]).is_ok()
        };
        assert!(rsa(256, 0x80) && rsa(257, 0) && rsa(512, 0x80) && rsa(1_024, 0xff));
        assert!(!rsa(256, 0x7f) && !rsa(128, 0xff) && !rsa(1_025, 0xff));
        assert!(Key::rsa(&[0xff; 256], &[]).is_err() && Key::rsa(&[], &[3]).is_err());
    }

    #[test]
    fn a_kid_selects_its_keys_or_those_without_a_name() {
        let key = |id: Option<&str>| Key { id: id.map(Into::into), ..Key::secret(&[7; 32]).unwrap() };
        let keys =
            KeySet { keys: vec![key(Some("a")), key(None), key(Some("b")), key(Some("a"))], skipped: Vec::new() };
        let named = |kid| keys.candidates(kid).map(|key| key.id.as_deref().unwrap_or("-")).collect::<Vec<_>>();
        assert_eq!(named(Some("a")), ["a", "a"]);
        assert_eq!(named(Some("z")), ["-"]);
        assert_eq!(named(None), ["a", "-", "b", "a"]);
        assert_eq!(KeySet::default().candidates(Some("a")).count(), 0);
    }
}
