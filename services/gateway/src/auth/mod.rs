//! Identity: who a client is and what it may do, by JSON Web Tokens (RFC 7519). One place decides for sockets and HTTP.
//!
//! A token is checked in this order, and the first fault ends it: size and form, header (`header`), key (`store`), signature and
//! times (`verifier`, with the library), claims (`claims`). Each of these modules uses only earlier ones:
//!
//! - `pattern`, `rights`: what may be done in which rooms. `strict`: JSON without duplicate members.
//! - `rejection`: why a token is refused. `algorithm`: signatures by ring. `key`, `jwk`, `pem`: keys.
//! - `fetch`, `jwks`: keys from a URL. `file`: keys from a file. `store`: either.
//! - `header`, `claims`: the parts of a token. `config`: the settings. `verifier`: all of it.
//!
//! What a token means for its session:
//!
//! - `permit`: whether an identity allows a request. `outsiders`: the same where there are no tokens.
//! - `access`: what one client may do, and until when. `sessions`: ends sessions with their tokens. `tokens`: checks the tokens of
//!   clients, and whether they are revoked.

pub(crate) mod access;
mod algorithm;
mod claims;
mod config;
mod fetch;
mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod header;
mod jwk;
mod jwks;
mod key;
mod outsiders;
mod pattern;
mod pem;
pub(crate) mod permit;
mod rejection;
mod rights;
pub(crate) mod sessions;
mod store;
mod strict;
#[cfg(test)]
mod testing;
mod tokens;
mod verifier;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rollcall_bus::{Bus, revocations::Revocations};
use rollcall_protocol::{Fault, Info, UserId, client::Token};
use rollcall_service::Tasks;

pub(crate) use self::outsiders::Outsiders;
pub(crate) use self::{
    config::Config,
    rights::{Right, Rights},
};
use self::{sessions::Session, tokens::Tokens, verifier::Verifier};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// By how many seconds the clocks of an issuer and a gateway may differ.
const LEEWAY_S: u64 = 10;

/// Decides who a client is.
pub(crate) enum Auth {
    /// Anyone may be anyone, and do everything but what outsiders may not.
    Off(Outsiders),
    /// A client is who its token says.
    Jwt(Tokens),
}

/// What a valid token says.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `sub`
    pub(crate) user: UserId,
    /// `info`
    pub(crate) info: Option<Info>,
    /// `rooms`, or `jwt_default_rooms`.
    pub(crate) rights: Rights,
    /// `jti`
    pub(crate) token_id: Option<Box<str>>,
    /// `iat`, in seconds since 1970.
    pub(crate) issued_at: Option<u64>,
    /// `exp`, in seconds since 1970.
    pub(crate) expires_at: u64,
}

impl Auth {
    /// Begins to check tokens; `tasks` owns what keeps the keys current and ends sessions with their tokens.
    pub(crate) fn start(config: Config, bus: &Bus, tasks: &Tasks) -> Self {
        match config {
            Config::Off(outsiders) => {
                tracing::warn!("authentication is off: any client may be any user and do everything; set AUTH=jwt");
                Self::Off(outsiders)
            }
            Config::Jwt(settings) => Self::Jwt(Tokens::start(Verifier::start(*settings, tasks), bus, tasks)),
        }
    }

    /// Who a client is; `None` if clients are not asked.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`: there is no token, or it is not valid. `UNAVAILABLE`: that cannot be known now.
    pub(crate) async fn identify(&self, token: Option<&Token>) -> Result<Option<Identity>, Fault> {
        match self {
            Self::Off(_) => Ok(None),
            Self::Jwt(tokens) => tokens.identify(token).await.map(Some),
        }
    }

    /// Whether tokens can be checked: a readiness check.
    ///
    /// # Errors
    /// Handshakes are answered `UNAVAILABLE`.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Off(_) => Ok(()),
            Self::Jwt(tokens) => tokens.check_list(),
        }
    }

    /// Ends a session with its token, if it has one.
    pub(crate) fn watch(&self, session: &Arc<impl Session>) {
        if let Self::Jwt(tokens) = self {
            tokens.watch(session);
        }
    }
}

/// For how long revocations are kept if this is the longest life of a token: a token is accepted a little after its end, and its
/// issue time may lie a little in the future.
pub(crate) fn revocations_kept(max_age: Duration) -> Duration {
    max_age + Duration::from_secs(3 * LEEWAY_S)
}

impl Identity {
    /// Whether the token has ended at `now`, in seconds since 1970, however far the issuer's clock is behind.
    fn has_ended(&self, now: u64) -> bool {
        now >= self.expires_at.saturating_add(LEEWAY_S)
    }

    fn is_revoked(&self, revocations: &Revocations) -> bool {
        revocations.cover(self.user.as_str(), self.token_id.as_deref(), self.issued_at)
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
