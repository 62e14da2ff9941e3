//! Checks tokens.

use std::time::Duration;

use jsonwebtoken::{Validation, decode, errors::ErrorKind};
use rollcall_protocol::Fault;
use rollcall_service::Tasks;
use serde_json::value::RawValue;

use super::{
    Identity, LEEWAY_S,
    algorithm::{self, Algorithm},
    claims::Rules,
    config::Settings,
    header::Header,
    key::{KeySet, MAX_TRIES},
    now_s,
    rejection::Rejection,
    store::Store,
};

/// Checks tokens against the keys and rules of the configuration.
pub(crate) struct Verifier {
    store: Store,
    /// One for each algorithm, so that a token's header never chooses it.
    validations: Box<[Validation; Algorithm::ALL.len()]>,
    rules: Rules,
}

impl Verifier {
    pub(super) fn start(settings: Settings, tasks: &Tasks) -> Self {
        algorithm::install();
        settings.store.start(tasks);
        let validations = Box::new(Algorithm::ALL.map(|algorithm| validation(algorithm, &settings)));
        Self { store: settings.store, validations, rules: settings.rules }
    }

    /// The longest life of a token.
    pub(super) fn max_age(&self) -> Duration {
        Duration::from_secs(self.rules.max_age_s)
    }

    /// Who the token says that the client is. It is valid until [`Identity::expires_at`] and not checked again by itself. Waits
    /// only if the token names an unknown key of a JWKS URL, for at most a few seconds.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` with the reason, `UNAVAILABLE` if the keys are not known. Neither quotes the token.
    pub(crate) async fn verify(&self, token: &str) -> Result<Identity, Fault> {
        Ok(self.check(token).await?)
    }

    async fn check(&self, token: &str) -> Result<Identity, Rejection> {
        let header = Header::of(token)?;
        let keys = self.store.keys(header.kid.as_deref()).await?;
        let payload = self.signed_payload(token, &header, &keys)?;
        self.rules.identify(payload.get(), now_s())
    }

    /// The payload, if the signature and the claims that the library checks are right.
    fn signed_payload(&self, token: &str, header: &Header, keys: &KeySet) -> Result<Box<RawValue>, Rejection> {
        let (mut rejection, mut tries) = (Rejection::UnknownKey, 0);
        for key in keys.candidates(header.kid.as_deref()) {
            if key.algorithm != header.algorithm {
                rejection = if tries == 0 { Rejection::OtherAlgorithm } else { rejection };
                continue;
            }
            match decode::<Box<RawValue>>(token, &key.decoding, &self.validations[key.algorithm as usize]) {
                Ok(token) => return Ok(token.claims),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => rejection = Rejection::Signature,
                Err(error) => return Err(error.into()),
            }
            tries += 1;
            if tries == MAX_TRIES {
                break;
            }
        }
        Err(rejection)
    }
}

/// What the library checks. Its defaults leave `nbf` and, where they are missing, `iss` and `aud` unchecked
/// (docs/internals/libraries.md, J2).
fn validation(algorithm: Algorithm, settings: &Settings) -> Validation {
    let mut validation = Validation::new(algorithm.of_library());
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    let mut required = vec!["exp", "sub"];
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    if let Some(audience) = &settings.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

#[cfg(test)]
mod tests;
