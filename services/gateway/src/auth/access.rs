//! What one client may do, and until when.

use std::sync::Arc;

use parking_lot::Mutex;
use rollcall_bus::revocations::Revocations;
use rollcall_protocol::{Fault, RoomId, client::Request};

use super::{
    Identity, Right,
    permit::{permit, unauthenticated},
};

/// How long before its token ends a client is warned, in seconds.
const WARN_S: u64 = 30;
/// How long after its token ended a client is disconnected, in seconds.
const GRACE_S: u64 = 30;

/// The access of one client.
pub(crate) struct Access(Mutex<Option<Held>>);

/// The token that a client holds.
struct Held {
    identity: Arc<Identity>,
    was_warned: bool,
    is_revoked: bool,
}

/// What a token's age asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// The client has to be warned that its token ends at this time, in seconds since 1970.
    Warning(u64),
    /// The client has to be disconnected.
    Close,
}

impl Access {
    /// What an identity allows; without one everything is allowed.
    pub(crate) fn new(identity: Option<Identity>) -> Self {
        let held = |identity| Held { identity: Arc::new(identity), was_warned: false, is_revoked: false };
        Self(Mutex::new(identity.map(held)))
    }

    /// Who the client is, unless clients are not asked.
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        self.0.lock().as_ref().map(|held| Arc::clone(&held.identity))
    }

    /// Whether the client may ask for this at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// See [`permit`].
    pub(crate) fn permit(&self, request: &Request, now: u64) -> Result<(), Fault> {
        match &*self.0.lock() {
            None => Ok(()),
            Some(held) if held.is_revoked => Err(unauthenticated("the token was revoked")),
            Some(held) => permit(&held.identity, request, now),
        }
    }

    /// Whether the client has this right in a room at `now`, in seconds since 1970: its token has not ended, and is not revoked.
    pub(crate) fn has(&self, right: Right, room: &RoomId, now: u64) -> bool {
        self.0.lock().as_ref().is_none_or(|held| {
            !held.is_revoked && !held.identity.has_ended(now) && held.identity.rights.allow(right, room.as_str())
        })
    }

    /// Whether the client's token names this right in a room.
    pub(crate) fn allows(&self, right: Right, room: &RoomId) -> bool {
        self.0.lock().as_ref().is_none_or(|held| held.identity.rights.allow(right, room.as_str()))
    }

    /// The client has a new token of the same user.
    pub(crate) fn renew(&self, identity: Identity) {
        *self.0.lock() = Self::new(Some(identity)).0.into_inner();
    }

    /// What has to be done at `now`, in seconds since 1970.
    pub(crate) fn due(&self, now: u64) -> Due {
        let held = self.0.lock();
        let Some(Held { identity, was_warned, is_revoked }) = &*held else { return Due::Nothing };
        if *is_revoked || now >= identity.expires_at.saturating_add(GRACE_S) {
            Due::Close
        } else if !was_warned && now.saturating_add(WARN_S) >= identity.expires_at {
            Due::Warning(identity.expires_at)
        } else {
            Due::Nothing
        }
    }

    /// The client was warned that its token ends at `expires_at`.
    pub(crate) fn was_warned(&self, expires_at: u64) {
        if let Some(held) = self.0.lock().as_mut().filter(|held| held.identity.expires_at == expires_at) {
            held.was_warned = true;
        }
    }

    /// Takes everything from the client if its token is revoked, and returns whether it is.
    pub(crate) fn check_revocations(&self, revocations: &Revocations) -> bool {
        let mut held = self.0.lock();
        let Some(held) = held.as_mut() else { return false };
        held.is_revoked |= held.identity.is_revoked(revocations);
        held.is_revoked
    }
}

#[cfg(test)]
mod tests {
    use rollcall_protocol::Code;

    use super::*;
    use crate::auth::testing::identity;

    const ALL: &str = r#"[{"room":"**","allow":["join","metadata:read"]}]"#;

    #[test]
    fn a_client_is_warned_once_and_closed_after_the_grace() {
        let access = Access::new(Some(identity(ALL, 1_000)));
        assert_eq!(access.due(969), Due::Nothing);
        assert_eq!(access.due(970), Due::Warning(1_000));
        assert_eq!(access.due(971), Due::Warning(1_000), "until there was room for the message");
        access.was_warned(1_000);
        assert_eq!((access.due(1_000), access.due(1_029), access.due(1_030)), (Due::Nothing, Due::Nothing, Due::Close));
        access.renew(identity(ALL, 2_000));
        access.was_warned(1_000);
        assert_eq!((access.due(1_030), access.due(1_970)), (Due::Nothing, Due::Warning(2_000)));
    }

    #[test]
    fn without_a_token_everything_is_allowed_and_nothing_ends() {
        let access = Access::new(None);
        let join = rollcall_protocol::client::parse(r#"["presence:join",{"roomId":"r","userId":"u"}]"#).unwrap();
        assert!(access.permit(&join, u64::MAX).is_ok() && access.allows(Right::Lock, &"r".into()));
        assert_eq!((access.due(u64::MAX), access.identity().is_none()), (Due::Nothing, true));
    }

    #[test]
    fn a_right_is_asked_for_by_room() {
        let access = Access::new(Some(identity(r#"[{"room":"a","allow":["metadata:read"]}]"#, 1_000)));
        assert!(access.allows(Right::MetadataRead, &"a".into()) && !access.allows(Right::MetadataRead, &"b".into()));
        let join = rollcall_protocol::client::parse(r#"["presence:join",{"roomId":"a"}]"#).unwrap();
        assert_eq!(access.permit(&join, 1).unwrap_err().code, Code::Forbidden);
    }
}
