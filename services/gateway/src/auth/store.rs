//! The keys that tokens are checked with, wherever they come from.

use std::sync::Arc;

use rollcall_service::Tasks;

use super::{file::KeyFile, jwks::Jwks, key::KeySet, rejection::Rejection};

/// Where keys come from.
#[derive(Clone)]
pub(super) enum Store {
    File(Arc<KeyFile>),
    Url(Arc<Jwks>),
}

impl Store {
    /// Keeps the keys current.
    pub(super) fn start(&self, tasks: &Tasks) {
        match self {
            Self::File(file) => tasks.spawn_permanent("key file", Arc::clone(file).follow()),
            Self::Url(jwks) => tasks.spawn_permanent("jwks", Arc::clone(jwks).follow()),
        }
    }

    /// The keys for a token with this `kid`.
    pub(super) async fn keys(&self, kid: Option<&str>) -> Result<Arc<KeySet>, Rejection> {
        match self {
            Self::File(file) => Ok(file.keys()),
            Self::Url(jwks) => jwks.keys(kid).await,
        }
    }
}
