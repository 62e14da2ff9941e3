//! Decoders that stay inside otherwise, for the targets of `fuzz/`. Built only with `--cfg fuzzing`.

use crate::auth;

/// Reads a token of these parts as if its signature were right.
pub fn token(header: &str, payload: &str) {
    auth::fuzzing::token(header, payload);
}

/// Reads a set of keys, as JWK or PEM.
pub fn keys(text: &str) {
    auth::fuzzing::keys(text);
}
