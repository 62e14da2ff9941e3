//! Public keys in PEM: `PUBLIC KEY`, the SubjectPublicKeyInfo of RFC 5280, as `openssl pkey -pubout` writes it.

use rustls_pki_types::{SubjectPublicKeyInfoDer, alg_id, pem::PemObject as _};

use super::key::{BadKey, Key, KeySet, MAX_TRIES};

const NOT_PEM: BadKey = BadKey("it must be PEM or a JWK set with at least one public key");
const NOT_DER: BadKey = BadKey("a key in it is damaged");

/// Reads all keys of a file.
pub(super) fn parse(text: &str) -> Result<KeySet, BadKey> {
    // The library passes over sections of other kinds.
    text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")).try_for_each(check_label)?;
    let mut set = KeySet::default();
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        let key = public_key(&info.map_err(|_| NOT_PEM)?)?;
        let algorithm = key.algorithm;
        set.keys.push(key);
        if set.keys.iter().filter(|one| one.algorithm == algorithm).count() > MAX_TRIES {
            return Err(BadKey("it must have at most 4 keys of a type; a JWK set, whose keys have names, may have 64"));
        }
    }
    if set.keys.is_empty() { Err(NOT_PEM) } else { Ok(set) }
}

fn check_label(label: &str) -> Result<(), BadKey> {
    match label.trim_end() {
        "PUBLIC KEY-----" => Ok(()),
        "CERTIFICATE-----" => Err(BadKey("it must have public keys, not certificates: openssl x509 -pubkey -noout")),
        label if label.ends_with("PRIVATE KEY-----") => {
            Err(BadKey("it must not have private keys: a gateway only checks signatures"))
        }
        _ => Err(BadKey("its sections must be PUBLIC KEY, as openssl pkey -pubout writes them")),
    }
}

fn public_key(der: &[u8]) -> Result<Key, BadKey> {
    let parts = || {
        let (info, []) = element(SEQUENCE, der)? else { return None };
        let (algorithm, rest) = element(SEQUENCE, info)?;
        let (bits, []) = element(BIT_STRING, rest)? else { return None };
        // The number of unused bits at the end.
        Some((algorithm, bits.strip_prefix(&[0])?))
    };
    let (algorithm, key) = parts().ok_or(NOT_DER)?;
    if *algorithm == *alg_id::ED25519 {
        Key::ed25519(key)
    } else if *algorithm == *alg_id::ECDSA_P256 {
        Key::p256(key)
    } else if *algorithm == *alg_id::RSA_ENCRYPTION {
        rsa(key)
    } else {
        Err(BadKey("its keys must be RSA, EC P-256 or Ed25519"))
    }
}

fn rsa(der: &[u8]) -> Result<Key, BadKey> {
    let parts = || {
        let (numbers, []) = element(SEQUENCE, der)? else { return None };
        let (modulus, rest) = element(INTEGER, numbers)?;
        let (exponent, []) = element(INTEGER, rest)? else { return None };
        Some((modulus, exponent))
    };
    let (modulus, exponent) = parts().ok_or(NOT_DER)?;
    Key::rsa(modulus, exponent)
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The content of the element at the start of `der`, if it has this tag, and what follows it (DER, X.690). No key needs
/// lengths of more than two bytes.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der {
        [first, rest @ ..] if *first == tag => match rest {
            [0x82, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
            [0x81, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
            [length @ ..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::{algorithm::Algorithm, testing::Issuer};

    #[test]
    fn a_file_may_have_several_keys() {
        let text = [Issuer::rsa("").pem(), Issuer::p256("").pem(), Issuer::ed25519("").pem()].join("comment\n");
        let algorithms: Vec<_> = parse(&text).unwrap().keys.iter().map(|key| key.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]);
        let four = Issuer::ed25519("").pem().repeat(4);
        assert_eq!(parse(&four).unwrap().keys.len(), 4);
        assert!(parse(&(four + &Issuer::ed25519("").pem())).is_err_and(|bad| bad.0.contains("at most 4 keys")));
    }

    #[test]
    fn private_keys_certificates_and_other_types_are_refused() {
        let section = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let good = Issuer::ed25519("").pem();
        for (label, part) in [
            ("PRIVATE KEY", "private keys"),
            ("RSA PRIVATE KEY", "private keys"),
            ("EC PRIVATE KEY", "private keys"),
            ("ENCRYPTED PRIVATE KEY", "private keys"),
            ("CERTIFICATE", "certificates"),
            ("CERTIFICATE REQUEST", "sections must be PUBLIC KEY"),
            ("RSA PUBLIC KEY", "sections must be PUBLIC KEY"),
            ("PUBLIC KEY", "damaged"),
        ] {
            let bad = parse(&(good.clone() + &section(label))).err().unwrap();
            assert!(bad.0.contains(part), "{label}: {bad}");
        }
        for text in ["", "hello", "-----BEGIN PUBLIC KEY-----\nMAA=\n"] {
            assert_eq!(parse(text).err(), Some(NOT_PEM), "{text}");
        }
        // openssl ecparam -name secp384r1 -genkey | openssl ec -pubout
        let p384 = include_str!("testing/p384.pem");
        assert!(parse(p384).is_err_and(|bad| bad.0.contains("P-256")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(der in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..80) {
            let _ = (public_key(&der), rsa(&der));
            // Also those that begin like a key.
            let text = Issuer::p256("").pem();
            let key = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).unwrap();
            prop_assert_eq!(public_key(&key[..cut]).is_ok(), false);
        }
    }
}
