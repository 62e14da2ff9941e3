//! What an error of the client library says about a command: whether Redis answered, and whether the command may have run. See F8
//! and F10 in `docs/internals/libraries.md`.

use fred::error::{Error, ErrorKind};

/// fred's errors for a command that it could not write, for example while a cluster changes or its router restarts.
const UNSENT_TEXTS: [&str; 2] = ["Too many failed write attempts.", "Failed to route command."];
/// fred's error for a command that a server answered `MOVED` or `ASK`, since no redirection is allowed.
const REDIRECTED: &str = "Too many redirections.";
/// Redis' error while some keys of a command have moved to another server and some have not.
const TRY_AGAIN: &str = "TRYAGAIN";

/// Whether this error is an answer of Redis (`OOM …`, `READONLY …`, `LOADING …`) and not a missing answer. Redis' errors begin
/// with a code in capitals; those of fred do not.
pub(crate) fn is_answer(error: &Error) -> bool {
    let code = error.details().split_whitespace().next().unwrap_or_default();
    !matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Tls)
        && code.len() >= 2
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Whether a command certainly did not run: fred's queue was full, it knew no server for the hash slot, or the server named
/// another one.
pub fn is_unsent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Backpressure | ErrorKind::Cluster)
        || UNSENT_TEXTS.contains(&error.details())
        || is_redirected(error)
}

/// Whether a command did not run because its hash slot has moved, or is about to.
pub fn is_redirected(error: &Error) -> bool {
    error.details() == REDIRECTED || error.details().starts_with(TRY_AGAIN)
}

/// Whether a connection cannot work with these settings, so that trying again does not help.
pub(super) fn is_misconfigured(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, text: &'static str) -> Error {
        Error::new(kind, text)
    }

    #[test]
    fn an_error_of_redis_is_an_answer() {
        for text in ["OOM command not allowed", "READONLY You can't write", "LOADING Redis is", "ERR no"] {
            assert!(is_answer(&error(ErrorKind::Unknown, text)), "{text}");
        }
        assert!(is_answer(&error(ErrorKind::Cluster, "CLUSTERDOWN The cluster is down")));
        assert!(!is_answer(&error(ErrorKind::Timeout, "Request timed out.")));
        assert!(!is_answer(&error(ErrorKind::IO, "IO error")));
        assert!(!is_answer(&error(ErrorKind::Cluster, "Missing server for hash slot 7")));
    }

    #[test]
    fn what_was_not_written_or_was_redirected_did_not_run() {
        assert!(is_unsent(&error(ErrorKind::Cluster, "Missing server for hash slot 7")));
        assert!(is_unsent(&error(ErrorKind::Backpressure, "Max number of commands reached")));
        UNSENT_TEXTS.into_iter().for_each(|text| assert!(is_unsent(&error(ErrorKind::Unknown, text)), "{text}"));
        for text in [REDIRECTED, "TRYAGAIN Multiple keys request during rehashing of slot"] {
            assert!(is_unsent(&error(ErrorKind::Routing, text)) && is_redirected(&error(ErrorKind::Routing, text)));
        }
        assert!(!is_redirected(&error(ErrorKind::Unknown, UNSENT_TEXTS[0])));
        assert!(!is_unsent(&error(ErrorKind::Timeout, "Request timed out.")), "it may have been written");
    }
}
