//! An issuer of tokens for tests. It signs any text, so that tokens can be wrong in every way.

pub(super) mod server;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64_URL},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use rustls_pki_types::alg_id;
use serde_json::{Value, json};

use super::{Identity, Rights};

/// Ann, with these rights, until `expires_at`.
pub(super) fn identity(rooms: &str, expires_at: u64) -> Identity {
    let rights = Rights::parse(rooms).unwrap();
    Identity { user: "ann".into(), info: None, rights, token_id: None, issued_at: None, expires_at }
}

/// A private key, its name and its `alg`.
pub(super) struct Issuer {
    pub(super) kid: &'static str,
    pub(super) alg: &'static str,
    key: PrivateKey,
}

enum PrivateKey {
    Secret(Vec<u8>),
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Issuer {
    /// With an empty `kid` tokens have none.
    pub(super) fn ed25519(kid: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = PrivateKey::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap());
        Self { kid, alg: "EdDSA", key }
    }

    pub(super) fn p256(kid: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = PrivateKey::P256(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap());
        Self { kid, alg: "ES256", key }
    }

    /// Always the same key: ring makes none.
    pub(super) fn rsa(kid: &'static str) -> Self {
        // openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER
        let key = PrivateKey::Rsa(RsaKeyPair::from_pkcs8(include_bytes!("testing/rsa.pk8")).unwrap());
        Self { kid, alg: "RS256", key }
    }

    pub(super) fn secret(secret: &[u8]) -> Self {
        Self { kid: "", alg: "HS256", key: PrivateKey::Secret(secret.to_vec()) }
    }

    /// A token with these claims.
    pub(super) fn token(&self, claims: &Value) -> String {
        let mut header = json!({ "alg": self.alg, "typ": "JWT" });
        if !self.kid.is_empty() {
            header["kid"] = self.kid.into();
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of this header and payload, whatever they are.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", BASE64_URL.encode(header), BASE64_URL.encode(payload));
        let random = SystemRandom::new();
        let bytes = message.as_bytes();
        let signature = match &self.key {
            PrivateKey::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()
            }
            PrivateKey::Ed25519(key) => key.sign(bytes).as_ref().to_vec(),
            PrivateKey::P256(key) => key.sign(&random, bytes).unwrap().as_ref().to_vec(),
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64_URL.encode(signature))
    }

    /// The public key as a JWK without `alg`.
    pub(super) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64_URL.encode(bytes);
        let mut jwk = match &self.key {
            PrivateKey::Secret(secret) => json!({ "kty": "oct", "k": encode(secret) }),
            PrivateKey::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
            PrivateKey::P256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            PrivateKey::Rsa(key) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "n": encode(&n), "e": encode(&e) })
            }
        };
        if !self.kid.is_empty() {
            jwk["kid"] = self.kid.into();
        }
        jwk
    }

    /// The public key as openssl writes it.
    pub(super) fn pem(&self) -> String {
        let (algorithm, key): (&[u8], &[u8]) = match &self.key {
            PrivateKey::Secret(_) => panic!("a secret has no public key"),
            PrivateKey::Ed25519(key) => (&alg_id::ED25519, key.public_key().as_ref()),
            PrivateKey::P256(key) => (&alg_id::ECDSA_P256, key.public_key().as_ref()),
            PrivateKey::Rsa(key) => (&alg_id::RSA_ENCRYPTION, key.public_key().as_ref()),
        };
        let info = der(0x30, &[der(0x30, algorithm), der(0x03, &[&[0], key].concat())].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(info))
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        ..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of `ann` that are valid now.
pub(super) fn claims() -> Value {
    json!({ "sub": "ann", "iat": now(), "exp": now() + 600 })
}

/// A file in a folder of its own, which goes with it.
pub(super) struct TempFile(pub(super) PathBuf);

impl TempFile {
    pub(super) fn with(content: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rollcall-auth-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("keys"), content).unwrap();
        Self(folder.join("keys"))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}
