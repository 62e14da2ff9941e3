use super::*;
use crate::auth::testing::{Issuer, TempFile};

/// Reads these settings over the defaults; the error is all problems.
fn read(host: &str, settings: &[(&str, &str)]) -> Result<Option<Config>, String> {
    let defaults = include_str!("../../../default.toml");
    let given = |key: &str| settings.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let line = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        let value = if key == "host" { Some(host) } else { given(key) };
        value.map_or_else(|| line.to_owned(), |value| format!("{key} = '''{value}'''"))
    };
    let text: Vec<_> = defaults.lines().map(line).collect();
    let mut reader = Reader::open(&text.join("\n")).unwrap();
    let config = Config::read(&mut reader);
    reader.finish(config).map_err(|problems| problems.to_string())
}

fn problem(host: &str, settings: &[(&str, &str)]) -> String {
    read(host, settings).err().unwrap()
}

fn is_off(config: Result<Option<Config>, String>) -> bool {
    matches!(config, Ok(Some(Config::Off(_))))
}

#[test]
fn without_a_decision_it_is_off_on_loopback_alone() {
    for host in ["127.0.0.1", "127.1.2.3", "::1"] {
        assert!(is_off(read(host, &[])), "{host}");
    }
    for host in ["0.0.0.0", "::", "10.0.0.7", "::ffff:127.0.0.1"] {
        assert!(problem(host, &[]).contains("AUTH must be jwt or off, because HOST is reachable"), "{host}");
        assert!(is_off(read(host, &[("auth", "off")])), "{host}");
    }
}

#[test]
fn exactly_one_place_has_the_keys() {
    let keys = TempFile::with(Issuer::ed25519("").pem().as_bytes());
    let keys = keys.0.to_str().unwrap();
    let url = ("jwt_jwks_url", "http://localhost:1/keys");
    for host in ["127.0.0.1", "0.0.0.0"] {
        for one in [("jwt_keys_file", keys), url] {
            assert!(matches!(read(host, &[("auth", "jwt"), one]), Ok(Some(Config::Jwt(_)))));
        }
    }
    for named in [&[("auth", "jwt")][..], &[("auth", "jwt"), ("jwt_keys_file", keys), url]] {
        let problem = problem("127.0.0.1", named);
        assert!(problem.contains("AUTH is jwt, which needs exactly one of JWT_KEYS_FILE"), "{problem}");
    }
    let forgotten = problem("127.0.0.1", &[url]);
    assert!(forgotten.contains("AUTH must be jwt for the keys that are named to be used, or off"), "{forgotten}");
    assert!(is_off(read("127.0.0.1", &[("auth", "off"), url])));
    assert!(problem("127.0.0.1", &[("auth", "JWT")]).contains("AUTH must be jwt or off"));
}

#[test]
fn files_and_urls_that_cannot_be_used_are_refused_in_words() {
    let file = |key: &str, content: &[u8]| {
        let file = TempFile::with(content);
        problem("127.0.0.1", &[("auth", "jwt"), (key, file.0.to_str().unwrap())])
    };
    let issuer = Issuer::secret(&[7; 32]);
    let secret_jwk = format!(r#"{{"keys":[{}]}}"#, issuer.jwk());
    for (key, content, part) in [
        ("jwt_secret_file", &b"too short\n"[..], "JWT_SECRET_FILE is not usable: a secret must have at least 32 bytes"),
        ("jwt_keys_file", b"", "JWT_KEYS_FILE is not usable: it must be PEM or a JWK set"),
        ("jwt_keys_file", b"-----BEGIN PRIVATE KEY-----", "it must not have private keys"),
        ("jwt_keys_file", b"-----BEGIN CERTIFICATE-----", "not certificates"),
        ("jwt_keys_file", b"\xff", "it must be text"),
        ("jwt_keys_file", br#"{"keys":[]}"#, "it must have at least one key"),
        ("jwt_keys_file", br#"{"keys":[{"kty":"PQC"}]}"#, "its type is not RSA"),
        ("jwt_keys_file", secret_jwk.as_bytes(), "a secret for HS256 belongs into JWT_SECRET_FILE"),
        ("jwt_keys_file", &[b'x'; 256 * 1024 + 1], "must be at most 262144 bytes long"),
    ] {
        let problem = file(key, content);
        assert!(problem.contains(part), "{problem}");
    }
    let missing = problem("127.0.0.1", &[("auth", "jwt"), ("jwt_keys_file", "/nowhere/keys.pem")]);
    assert!(missing.contains("JWT_KEYS_FILE cannot be read: No such file"), "{missing}");
    for url in ["http://id.example.com/keys", "ftp://localhost/", "keys", "https://ann:pw@id.example.com/", "https://"]
    {
        let problem = problem("127.0.0.1", &[("auth", "jwt"), ("jwt_jwks_url", url)]);
        assert!(problem.contains("JWT_JWKS_URL must be an https:// URL"), "{problem}");
        assert!(!problem.contains("pw"));
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problem =
        problem("0.0.0.0", &[("jwt_max_age_s", "59"), ("jwt_default_rooms", r#"[{"room":"a*","allow":[]}]"#)]);
    assert!(problem.contains("3 problem(s)"), "{problem}");
    assert!(problem.contains("JWT_MAX_AGE_S must be from 60 to 31536000"), "{problem}");
    assert!(problem.contains("JWT_DEFAULT_ROOMS has a wrong entry [0]: * must be a whole segment"), "{problem}");
}
