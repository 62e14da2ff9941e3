//! Identity: who a client is and what it may do, by JSON Web Tokens (RFC 7519). One place decides for sockets and HTTP.
//!
//! A token is checked in this order, and the first fault ends it: size and form, header (`header`), key (`store`), signature and
//! times (`verifier`, with the library), claims (`claims`). Each of these modules uses only earlier ones:
//!
//! - `pattern`, `rights`: what may be done in which rooms. `strict`: JSON without duplicate members.
//! - `rejection`: why a token is refused. `algorithm`: signatures by ring. `key`, `jwk`, `pem`: keys.
//! - `fetch`, `jwks`: keys from a URL. `file`: keys from a file. `store`: either.
//! - `header`, `claims`: the parts of a token. `config`: the settings. `verifier`: all of it.

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
mod pattern;
mod pem;
mod rejection;
mod rights;
mod store;
mod strict;
#[cfg(test)]
mod testing;
mod verifier;

use std::sync::Arc;

use protocol::UserId;
use serde_json::value::RawValue;
use service::Tasks;

pub(crate) use self::{
    config::Config,
    rights::{Right, Rights},
    verifier::Verifier,
};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// By how many seconds the clocks of an issuer and a gateway may differ.
const LEEWAY_S: u64 = 10;

/// Decides who a client is.
#[derive(Clone)]
pub(crate) enum Auth {
    /// Anyone may be anyone and do everything.
    Off,
    /// A client is who its token says.
    Jwt(Arc<Verifier>),
}

/// What a valid token says.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `sub`
    pub(crate) user: UserId,
    /// `info`: a JSON object without line breaks.
    pub(crate) info: Option<Arc<RawValue>>,
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
    /// Begins to check tokens; `tasks` owns what keeps the keys current.
    pub(crate) fn start(config: Config, tasks: &Tasks) -> Self {
        match config {
            Config::Off => {
                tracing::warn!("authentication is off: any client may be any user and do everything; set AUTH=jwt");
                Self::Off
            }
            Config::Jwt(settings) => Self::Jwt(Arc::new(Verifier::start(*settings, tasks))),
        }
    }
}
