//! What a client is told when something did not work: a code that programs read and a sentence that people read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The codes of unsuccessful answers; their names on the wire are in capitals, as in docs/reference/errors.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// There is no token, or it is not valid (any more).
    Unauthenticated,
    /// The token does not allow it. Nothing changed.
    Forbidden,
    /// The client, or all clients together, did this too often. Nothing was done; `retryAfterMs` of the answer says when to try again.
    RateLimited,
    /// The payload has a wrong type, a missing field or a value out of range. Nothing changed.
    InvalidPayload,
    /// The socket is in no room.
    NotJoined,
    /// The socket is in another room.
    RoomConflict,
    /// A value is over its limit. Nothing changed.
    TooLarge,
    /// A revision is not the current one. Nothing changed.
    MetadataConflict,
    /// The lock that guards the write is not held by the writer, or its fence is old. Nothing changed.
    MetadataLock,
    /// There is nothing to update. Nothing changed.
    MetadataInvalid,
    /// Another connection holds the lock.
    LockHeld,
    /// The connection does not hold the lock, or no longer.
    LockLost,
    /// The system cannot do it now and did not; try again.
    Unavailable,
    /// No answer came in time; it may or may not have happened.
    Timeout,
    /// A queue was full, nothing was done; slow down.
    Overloaded,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// The name on the wire and in telemetry (`error.type`).
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::RateLimited => "RATE_LIMITED",
            Code::InvalidPayload => "INVALID_PAYLOAD",
            Code::NotJoined => "NOT_JOINED",
            Code::RoomConflict => "ROOM_CONFLICT",
            Code::TooLarge => "TOO_LARGE",
            Code::MetadataConflict => "METADATA_CONFLICT",
            Code::MetadataLock => "METADATA_LOCK",
            Code::MetadataInvalid => "METADATA_INVALID",
            Code::LockHeld => "LOCK_HELD",
            Code::LockLost => "LOCK_LOST",
            Code::Unavailable => "UNAVAILABLE",
            Code::Timeout => "TIMEOUT",
            Code::Overloaded => "OVERLOADED",
            Code::Internal => "INTERNAL",
        }
    }
}

impl Code {
    /// Whether the system did what it should, and the client, or all clients together, wanted what they may not have. Otherwise it
    /// is a fault of ours.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Code::Unavailable | Code::Timeout | Code::Internal)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal that reaches the client as it is. Its sentence is ours: no text of Redis or of a library gets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of refusal.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `INVALID_PAYLOAD` with a sentence that names the field.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidPayload, message)
    }

    /// `UNAVAILABLE`: Redis or presence-state cannot be asked right now.
    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable, "presence is not available right now; try again")
    }

    /// `INTERNAL`: a reply of another kind than the request asks for.
    pub fn unexpected() -> Self {
        Self::new(Code::Internal, "the request was answered with something else")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}
