use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rollcall_protocol::Code;
use serde_json::{Value, json};

use super::*;
use crate::auth::{
    Right, Rights,
    fetch::Endpoint,
    file::{Content, KeyFile},
    jwks::Jwks,
    testing::{
        Issuer, TempFile, claims, now,
        server::{Answer, Server},
    },
};

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

struct Site {
    verifier: Verifier,
    _tasks: Tasks,
}

impl Site {
    fn new(store: Store, change: impl FnOnce(&mut Settings)) -> Self {
        let rules = Rules { max_age_s: 3_600, default_rights: Rights::default() };
        let mut settings = Settings { store, issuer: None, audience: None, rules };
        change(&mut settings);
        let tasks = Tasks::default();
        Self { verifier: Verifier::start(settings, &tasks), _tasks: tasks }
    }

    fn with_file(content: Content, bytes: &[u8]) -> Self {
        Self::new(file(content, bytes), |_| {})
    }

    async fn refuses(&self, token: &str) -> String {
        let fault = self.verifier.verify(token).await.unwrap_err();
        assert_eq!(fault.code, Code::Unauthenticated);
        fault.message
    }
}

fn file(content: Content, bytes: &[u8]) -> Store {
    let file = TempFile::with(bytes);
    Store::File(Arc::new(KeyFile::open(file.0.clone(), content).unwrap()))
}

fn jwks(issuers: &[&Issuer]) -> Vec<u8> {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[member] = value.into();
    claims
}

#[tokio::test]
async fn each_algorithm_is_accepted_from_each_kind_of_file() {
    let issuers = [Issuer::rsa("r"), Issuer::p256("p"), Issuer::ed25519("e")];
    let pem = issuers.iter().map(Issuer::pem).collect::<String>();
    let files = [pem.into_bytes(), jwks(&issuers.iter().collect::<Vec<_>>())];
    for file in files {
        let site = Site::with_file(Content::Keys, &file);
        for issuer in &issuers {
            let identity = site.verifier.verify(&issuer.token(&claims())).await.unwrap();
            assert_eq!(identity.user.as_str(), "ann", "{}", issuer.alg);
        }
    }
    let site = Site::with_file(Content::Secret, &[SECRET, b"\r\n"].concat());
    let token = Issuer::secret(SECRET).token(&with("rooms", json!([{"room": "doc:*", "allow": ["join"]}])));
    let identity = site.verifier.verify(&token).await.unwrap();
    assert!(identity.rights.allow(Right::Join, "doc:1") && !identity.rights.allow(Right::Lock, "doc:1"));
}

#[tokio::test]
async fn a_wrong_signature_is_refused() {
    let (ours, theirs) = (Issuer::ed25519("k"), Issuer::ed25519("k"));
    let site = Site::with_file(Content::Keys, &jwks(&[&ours, &Issuer::p256("p")]));
    assert_eq!(site.refuses(&theirs.token(&claims())).await, "the token's signature is wrong");
    let token = ours.token(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let other = ours.token(&with("sub", "bob"));
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert_eq!(site.refuses(&forged).await, "the token's signature is wrong");
    assert_eq!(site.refuses(&format!("{message}.")).await, "the token's signature is wrong");
    assert_eq!(site.refuses(&format!("{token}AAAA")).await, "the token's signature is wrong");
    assert!(site.refuses(&format!("{token}=")).await.contains("three parts of base64url"));
    let unknown = Issuer::ed25519("z");
    assert_eq!(site.refuses(&unknown.token(&claims())).await, "the token's kid is not that of a known key");
}

#[tokio::test]
async fn the_header_never_chooses_the_algorithm() {
    let rsa = Issuer::rsa("k");
    let site = Site::with_file(Content::Keys, &jwks(&[&rsa]));
    let header = |alg: &str| json!({ "alg": alg, "kid": "k" }).to_string();
    let payload = claims().to_string();
    // The public key, in the forms in which it is known, as a secret.
    let jwk = rsa.jwk();
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    for secret in [rsa.pem().into_bytes(), jwk.to_string().into_bytes(), modulus] {
        let token = Issuer::secret(&secret).sign(&header("HS256"), &payload);
        assert_eq!(site.refuses(&token).await, "the token's alg must be that of its key");
    }
    for issuer in [Issuer::p256("k"), Issuer::ed25519("k")] {
        let token = issuer.token(&claims());
        assert_eq!(site.refuses(&token).await, "the token's alg must be that of its key");
        let token = issuer.sign(&header("RS256"), &payload);
        assert_eq!(site.refuses(&token).await, "the token's signature is wrong");
    }
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    for alg in ["none", "None", "NONE", "HS384", "PS256", "ES384"] {
        for signature in ["", "AAAA"] {
            let token = format!("{}.{}.{signature}", encode(&header(alg)), encode(&payload));
            assert_eq!(site.refuses(&token).await, "the token's alg must be HS256, RS256, ES256 or EdDSA");
        }
    }
    // A secret is no public key either.
    let site = Site::with_file(Content::Secret, SECRET);
    assert_eq!(site.refuses(&Issuer::ed25519("").token(&claims())).await, "the token's alg must be that of its key");
}

#[tokio::test]
async fn a_token_does_not_bring_its_key() {
    let thief = Issuer::ed25519("");
    let site = Site::with_file(Content::Keys, &jwks(&[&Issuer::ed25519("k")]));
    let header = json!({ "alg": "EdDSA", "jwk": thief.jwk(), "jku": "https://evil.example/keys" });
    let token = thief.sign(&header.to_string(), &claims().to_string());
    assert_eq!(site.refuses(&token).await, "the token's signature is wrong");
}

#[tokio::test]
async fn extensions_and_duplicates_are_refused() {
    let issuer = Issuer::secret(SECRET);
    let site = Site::with_file(Content::Secret, SECRET);
    let payload = claims().to_string();
    for extension in [r#""crit":["b64"],"b64":false"#, r#""b64":false"#, r#""crit":[]"#] {
        let token = issuer.sign(&format!(r#"{{"alg":"HS256",{extension}}}"#), &payload);
        assert_eq!(site.refuses(&token).await, "the token's header must not have crit or b64");
    }
    let token = issuer.sign(r#"{"alg":"none","alg":"HS256"}"#, &payload);
    assert!(site.refuses(&token).await.starts_with("the token's header must be"));
    let header = r#"{"alg":"HS256"}"#;
    for payload in [
        format!(r#"{{"sub":"ann","exp":{0},"exp":{0}}}"#, now() + 600),
        format!(r#"{{"sub":"ann","exp":{},"sub":"bob"}}"#, now() + 600),
        format!(r#"{{"sub":"ann","exp":{},"info":{{"a":1,"\u0061":2}}}}"#, now() + 600),
        format!(r#"[{},0,"ann",null,null]"#, now() + 600),
        "null".to_owned(),
        String::new(),
    ] {
        let refused = site.refuses(&issuer.sign(header, &payload)).await;
        assert_eq!(refused, "the token's payload must be a JSON object without duplicate members", "{payload}");
    }
}

#[tokio::test]
async fn times_are_checked_with_leeway() {
    let issuer = Issuer::secret(SECRET);
    let site = Site::with_file(Content::Secret, SECRET);
    let check = async |claims: Value| site.verifier.verify(&issuer.token(&claims)).await.map_err(|fault| fault.message);
    assert!(check(with("exp", now() - 5)).await.is_ok());
    assert_eq!(check(with("exp", now() - 15)).await.unwrap_err(), "the token has expired; get a new one");
    assert!(check(with("nbf", now() + 5)).await.is_ok());
    assert!(check(with("nbf", now() + 15)).await.unwrap_err().starts_with("the token is not valid yet"));
    assert!(check(with("iat", now() + 30)).await.unwrap_err().contains("iat must not lie in the future"));
    assert!(check(with("exp", now() + 3_700)).await.unwrap_err().contains("at most 3600 s after its iat"));
    for (claim, value) in [("exp", json!((now() + 600).to_string())), ("exp", json!(null)), ("exp", json!(-1))] {
        let refused = check(with(claim, value)).await.unwrap_err();
        assert_eq!(refused, "the token must have the claim exp, a number of seconds since 1970");
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    let refused = check(endless).await.unwrap_err();
    assert_eq!(refused, "the token must have the claim exp, a number of seconds since 1970");
    assert!(check(with("nbf", "soon")).await.unwrap_err().contains("nbf must be a number"));
    assert!(check(with("exp", now() as f64 + 600.5)).await.is_ok(), "RFC 7519 allows fractions");
}

#[tokio::test]
async fn issuer_and_audience_are_checked_if_they_are_set() {
    let issuer = Issuer::secret(SECRET);
    let check = async |site: &Site, iss: Value, aud: Value| {
        let mut claims = with("iss", iss);
        claims["aud"] = aud;
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        site.verifier.verify(&issuer.token(&claims)).await.map(drop).map_err(|fault| fault.message)
    };
    let strict = Site::new(file(Content::Secret, SECRET), |settings| {
        settings.issuer = Some("us".to_owned());
        settings.audience = Some("rollcall".to_owned());
    });
    assert_eq!(check(&strict, json!("us"), json!("rollcall")).await, Ok(()));
    assert_eq!(check(&strict, json!("us"), json!(["a", "rollcall"])).await, Ok(()));
    for (iss, aud, refused) in [
        (json!("them"), json!("rollcall"), "the token's iss is not accepted here"),
        (json!(null), json!("rollcall"), "the token must have the claim iss, a text"),
        (json!(7), json!("rollcall"), "the token must have the claim iss, a text"),
        (json!(["us"]), json!("rollcall"), "the token's iss must be a text"),
        (json!("us"), json!("other"), "the token's aud does not name this system"),
        (json!("us"), json!(["a", "b"]), "the token's aud does not name this system"),
        (json!("us"), json!(null), "the token must have the claim aud, a text or a list of texts"),
        (json!("us"), json!([]), "the token's aud does not name this system"),
        (json!("us"), json!({}), "the token must have the claim aud, a text or a list of texts"),
    ] {
        assert_eq!(check(&strict, iss, aud).await.unwrap_err(), refused);
    }
    let lax = Site::with_file(Content::Secret, SECRET);
    assert_eq!(check(&lax, json!("anyone"), json!(null)).await, Ok(()));
    // RFC 7519, 4.1.3: a token for someone else must be refused; who we are is not known.
    assert!(check(&lax, json!(null), json!("other")).await.is_err());
    assert!(check(&lax, json!(null), json!(7)).await.is_err());
}

#[tokio::test]
async fn tokens_without_a_kid_are_tried_with_a_few_keys() {
    let issuers: Vec<_> = (0..5).map(|_| Issuer::ed25519("k")).collect();
    let all = jwks(&issuers.iter().collect::<Vec<_>>());
    let site = Site::with_file(Content::Keys, &all);
    for (index, mut issuer) in issuers.into_iter().enumerate() {
        issuer.kid = "";
        let token = issuer.token(&claims());
        assert_eq!(site.verifier.verify(&token).await.is_ok(), index < MAX_TRIES, "{index}");
    }
}

#[tokio::test]
async fn what_cannot_be_known_is_not_called_unauthenticated() {
    let (known, unknown) = (Issuer::ed25519("known"), Issuer::ed25519("unknown"));
    let server = Server::start(Answer::status("503 Later")).await;
    let endpoint = Endpoint::parse(&server.url()).unwrap();
    let site = Site::new(Store::Url(Arc::new(Jwks::new(endpoint, Duration::ZERO))), |_| {});
    let check = async |issuer: &Issuer| site.verifier.verify(&issuer.token(&claims())).await.map(drop);
    let unavailable = Fault::new(Code::Unavailable, "the keys for tokens cannot be fetched right now; try again");
    assert_eq!(check(&known).await, Err(unavailable.clone()));
    server.set(Answer::keys(&[&known]));
    rollcall_testkit::until("the keys are fetched", async || check(&known).await.ok()).await;
    assert_eq!(check(&unknown).await.unwrap_err().code, Code::Unauthenticated);
    server.set(Answer::status("503 Later"));
    assert_eq!(check(&unknown).await, Err(unavailable));
    assert_eq!(check(&known).await, Ok(()));
}

/// Everything that an attacker writes himself: it must end in a refusal, whatever it is.
fn refused_without_panic(token: &str) {
    thread_local! {
        static SITE: (tokio::runtime::Runtime, Site) = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let site = runtime.block_on(async { Site::with_file(Content::Secret, SECRET) });
            (runtime, site)
        };
    }
    SITE.with(|(runtime, site)| assert!(runtime.block_on(site.verifier.verify(token)).is_err()));
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused(token in ".{0,300}") {
        refused_without_panic(&token);
    }

    #[test]
    fn arbitrary_parts_are_refused(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let parts: Vec<_> = parts.iter().map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).collect();
        refused_without_panic(&parts.join("."));
    }

    #[test]
    fn arbitrary_signatures_and_payloads_are_refused(payload in ".{0,60}", signature in any::<[u8; 32]>()) {
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let header = encode(br#"{"alg":"HS256"}"#);
        refused_without_panic(&format!("{header}.{}.{}", encode(payload.as_bytes()), encode(&signature)));
        // Signed, so that the payload is read.
        refused_without_panic(&Issuer::secret(SECRET).sign(r#"{"alg":"HS256"}"#, &payload));
    }
}
