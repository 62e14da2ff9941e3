//! Errors of Redis: what clients are answered, and what is logged.

use std::sync::atomic::Ordering;

use fred::error::ErrorKind;
use rollcall_bus::redis;
use rollcall_protocol::{Code, Fault};
use tracing::Span;

use super::{Store, fullness::Level};

/// The first words of Redis errors that a retry may get over; `LATE` is the error of `call.lua` for a write after its deadline.
const TRANSIENT: [&str; 9] =
    ["LATE", "LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF"];

/// The answers to what Redis has no memory for.
const FULL: &str = "the store is full: nothing new can be stored right now";
const NEARLY_FULL: &str = "the store is nearly full: nothing more can be kept in channels right now";

/// Whether a command was refused because Redis has no memory for it.
pub(crate) fn is_of_memory(fault: &Fault) -> bool {
    fault.code == Code::Overloaded && [FULL, NEARLY_FULL].contains(&&*fault.message)
}

impl Store {
    /// Turns an error of Redis into the answer for the client, and logs it.
    pub(super) fn fault(&self, span: &Span, what: &'static str, error: &fred::error::Error) -> Fault {
        let fault = fault_of(error);
        span.in_scope(|| match fault.code {
            // The command was late; Redis works.
            _ if error.details().starts_with("LATE") => {}
            _ if redis::is_redirected(error) => {
                if let Some(suppressed) = self.moving.admit() {
                    tracing::warn!(
                        %error, what, suppressed,
                        "a hash slot moves to another server; its rooms are UNAVAILABLE until it has moved, or until \
                         `redis-cli --cluster fix` if its move was broken off"
                    );
                }
            }
            Code::Unavailable if self.is_away.load(Ordering::Relaxed) => {}
            Code::Unavailable => self.away(what, error),
            Code::Overloaded => self.fullness.rejected(Level::Full, error.details()),
            _ => {
                if let Some(suppressed) = self.rejected.admit() {
                    tracing::error!(%error, what, suppressed, "Redis rejected a script");
                }
            }
        });
        fault
    }

    /// Logs that Redis is away, once until it works. Reads may work while writes do not, so that it comes and goes with every command.
    fn away(&self, what: &'static str, error: &fred::error::Error) {
        let Some(suppressed) = self.unavailable.admit() else { return };
        self.is_away.store(true, Ordering::Relaxed);
        if begins_with(error, &TRANSIENT) {
            let error = error.details();
            tracing::error!(
                error,
                what,
                suppressed,
                "Redis refuses commands; clients are answered UNAVAILABLE (logged once until it works)"
            );
        } else {
            tracing::error!(%error, what, suppressed, "Redis does not answer; clients are answered UNAVAILABLE (logged once until it answers)");
        }
    }

    /// The answer to a write of metadata that Redis has the memory for, but only for presence.
    pub(super) fn nearly_full(&self, span: &Span) -> Fault {
        span.in_scope(|| self.fullness.rejected(Level::NearlyFull, ""));
        Fault::new(Code::Overloaded, NEARLY_FULL)
    }

    pub(super) fn worked(&self) {
        if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
    }
}

fn begins_with(error: &fred::error::Error, codes: &[&str]) -> bool {
    codes.iter().any(|code| error.details().starts_with(code))
}

/// The answer to a client after an error of Redis or of the connection to it: `UNAVAILABLE` if a retry may get over it.
fn fault_of(error: &fred::error::Error) -> Fault {
    if begins_with(error, &["OOM"]) {
        return Fault::new(Code::Overloaded, FULL);
    }
    let is_away = matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled)
        || redis::is_unsent(error)
        || begins_with(error, &TRANSIENT);
    if is_away { Fault::unavailable() } else { Fault::new(Code::Internal, "presence could not be stored") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_errors_are_unavailable_oom_is_overloaded_and_the_rest_is_internal() {
        let of = |kind, details: &'static str| fault_of(&fred::error::Error::new(kind, details)).code;
        for says in
            ["LATE 17", "LOADING Redis is", "READONLY You", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS"]
        {
            assert_eq!(of(ErrorKind::Unknown, says), Code::Unavailable, "{says}");
        }
        for says in
            ["BUSY Redis is busy", "MISCONF Redis is", "Too many failed write attempts.", "Too many redirections."]
        {
            assert_eq!(of(ErrorKind::Unknown, says), Code::Unavailable, "{says}");
        }
        for kind in
            [ErrorKind::IO, ErrorKind::Timeout, ErrorKind::Canceled, ErrorKind::Backpressure, ErrorKind::Cluster]
        {
            assert_eq!(of(kind, ""), Code::Unavailable);
        }
        assert_eq!(of(ErrorKind::Unknown, "OOM allow-oom flag is not set"), Code::Overloaded);
        assert_eq!(of(ErrorKind::Unknown, "WRONGTYPE Operation"), Code::Internal);
    }
}
