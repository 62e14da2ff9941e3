//! Why a token is refused, in words of ours.

use std::borrow::Cow;

use jsonwebtoken::errors::{Error, ErrorKind};
use rollcall_protocol::{Code, Fault};

use super::{LEEWAY_S, MAX_TOKEN_BYTES};

/// Why a token is refused. It never holds the token, a part of it, or a library's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Over [`MAX_TOKEN_BYTES`].
    TooLarge,
    /// It is not three parts of base64url.
    Form,
    /// The header is no JSON object, has duplicate members, or members of a wrong type.
    Header,
    /// The header asks for what RFC 7515 calls critical extensions.
    Extension,
    /// The header names another algorithm than the four, or none.
    Algorithm,
    /// No key has the header's `kid`.
    UnknownKey,
    /// The header names another algorithm than the key's.
    OtherAlgorithm,
    /// The signature is not that of the key.
    Signature,
    /// The payload is no JSON object, or has duplicate members.
    Payload,
    /// It has expired.
    Expired,
    /// Its `nbf` lies in the future.
    NotYetValid,
    /// Its `iss` is not the one that is accepted.
    Issuer,
    /// Its `aud` does not name this system.
    Audience,
    /// A claim is missing or wrong: the sentence says which and how it must be.
    Claim(Cow<'static, str>),
    /// There are no keys (any more recent ones) to check it with. The token may be valid.
    NoKeys,
}

impl Rejection {
    /// `claim` must be there, and of its type.
    pub(super) fn missing(claim: &str) -> Self {
        let kind = match claim {
            "exp" | "nbf" => "a number of seconds since 1970",
            "aud" => "a text or a list of texts",
            _ => "a text",
        };
        Self::Claim(format!("the token must have the claim {claim}, {kind}").into())
    }

    /// `claim` is there and is not what it `must` be.
    pub(super) fn wrong(claim: &str, must: &str) -> Self {
        Self::Claim(format!("the token's {claim} must {must}").into())
    }

    /// `what` is wrong with the claim `rooms`.
    pub(super) fn rooms(what: String) -> Self {
        Self::Claim(format!("the token's rooms {what}").into())
    }

    fn sentence(self) -> Cow<'static, str> {
        match self {
            Self::TooLarge => format!("the token must be at most {MAX_TOKEN_BYTES} bytes long").into(),
            Self::Form => "the token must be three parts of base64url with dots between them".into(),
            Self::Header => "the token's header must be that of RFC 7515, without duplicate members".into(),
            Self::Extension => "the token's header must not have crit or b64".into(),
            Self::Algorithm => "the token's alg must be HS256, RS256, ES256 or EdDSA".into(),
            Self::UnknownKey => "the token's kid is not that of a known key".into(),
            Self::OtherAlgorithm => "the token's alg must be that of its key".into(),
            Self::Signature => "the token's signature is wrong".into(),
            Self::Payload => "the token's payload must be a JSON object without duplicate members".into(),
            Self::Expired => "the token has expired; get a new one".into(),
            Self::NotYetValid => format!("the token is not valid yet (nbf, with {LEEWAY_S} s of leeway)").into(),
            Self::Issuer => "the token's iss is not accepted here".into(),
            Self::Audience => "the token's aud does not name this system".into(),
            Self::Claim(sentence) => sentence,
            Self::NoKeys => "the keys for tokens cannot be fetched right now; try again".into(),
        }
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NoKeys => Code::Unavailable,
            _ => Code::Unauthenticated,
        };
        Self::new(code, rejection.sentence())
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        match error.into_kind() {
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAlgorithm => Self::OtherAlgorithm,
            ErrorKind::MissingRequiredClaim(claim) => Self::missing(&claim),
            ErrorKind::InvalidClaimFormat(claim) => Self::wrong(&claim, "be a number of seconds since 1970"),
            ErrorKind::Json(_) | ErrorKind::Utf8(_) => Self::Payload,
            _ => Self::Form,
        }
    }
}
