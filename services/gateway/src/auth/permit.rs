//! Whether a token allows what its client asks for. The one place that decides.

use rollcall_protocol::{
    Code, Fault,
    client::{LockAsk, MetadataAsk, Request},
};

use super::{Identity, Right};

/// Whether the identity allows a request at `now`, in seconds since 1970. What takes nothing from anyone is always allowed: a
/// heartbeat that changes nothing, a leave, the release of a lock, and a new token.
///
/// # Errors
/// `UNAUTHENTICATED`: the token has ended. `FORBIDDEN`: it does not allow this.
pub(crate) fn permit(identity: &Identity, request: &Request, now: u64) -> Result<(), Fault> {
    let needed = match request {
        Request::Refresh(_) | Request::Leave | Request::Heartbeat { patch: None, .. } => return Ok(()),
        Request::Lock(ask) if matches!(**ask, LockAsk::Release { .. }) => return Ok(()),
        Request::Heartbeat { .. } => None,
        Request::Join { room, .. } => Some((Right::Join, room)),
        Request::Metadata(asked) => match &asked.1 {
            MetadataAsk::Get => Some((Right::MetadataRead, &asked.0.name)),
            MetadataAsk::Set(_) | MetadataAsk::Update(_) | MetadataAsk::Remove(_) | MetadataAsk::Clear(_) => {
                Some((Right::MetadataWrite, &asked.0.name))
            }
        },
        Request::Lock(ask) => Some((Right::Lock, &ask.channel().name)),
    };
    if identity.has_ended(now) {
        return Err(unauthenticated("the token has expired; send a new one with auth:refresh"));
    }
    if let Request::Join { user: Some(user), .. } = request
        && *user != identity.user
    {
        return Err(forbidden("userId must be the sub of the token, or absent"));
    }
    let Some((right, room)) = needed else { return Ok(()) };
    if identity.rights.allow(right, room.as_str()) {
        return Ok(());
    }
    let name = right.name();
    Err(Fault::new(Code::Forbidden, format!("the token does not allow {name} in this room")))
}

pub(crate) fn forbidden(sentence: &str) -> Fault {
    Fault::new(Code::Forbidden, sentence)
}

pub(crate) fn unauthenticated(sentence: &str) -> Fault {
    Fault::new(Code::Unauthenticated, sentence)
}

#[cfg(test)]
mod tests {
    use rollcall_protocol::client::parse;

    use super::*;
    use crate::auth::LEEWAY_S;
    use crate::auth::testing::identity;

    const NOW: u64 = 1_000;

    fn asks(json: &str) -> Request {
        parse(json).unwrap()
    }

    fn refused(identity: &Identity, json: &str, now: u64) -> Option<Code> {
        permit(identity, &asks(json), now).err().map(|fault| fault.code)
    }

    const JOIN: &str = r#"["presence:join",{"roomId":"doc:1"}]"#;
    const READ: &str = r#"["metadata:getChannel",{"channelName":"doc:1","channelType":"T"}]"#;
    const SET: &str = r#"["metadata:setChannel",{"channelName":"doc:1","channelType":"T"}]"#;
    const CLEAR: &str = r#"["metadata:removeChannel",{"channelName":"doc:1","channelType":"T"}]"#;
    const LOCK: &str = r#"["lock:get",{"channelName":"doc:1","channelType":"T"}]"#;
    const PATCH: &str = r#"["presence:heartbeat",{"patchState":{"a":1}}]"#;

    #[test]
    fn each_request_needs_its_right() {
        for (right, allowed) in [
            ("join", &[JOIN][..]),
            ("metadata:read", &[READ]),
            ("metadata:write", &[READ, SET, CLEAR]),
            ("lock", &[LOCK]),
            ("observe", &[]),
        ] {
            let identity = identity(&format!(r#"[{{"room":"doc:*","allow":["{right}"]}}]"#), NOW + 1);
            for request in [JOIN, READ, SET, CLEAR, LOCK] {
                let code = (!allowed.contains(&request)).then_some(Code::Forbidden);
                assert_eq!(refused(&identity, request, NOW), code, "{right}: {request}");
            }
            assert_eq!(refused(&identity, PATCH, NOW), None, "a member may change its own state");
        }
        let other = identity(r#"[{"room":"other","allow":["join"]}]"#, NOW + 1);
        assert_eq!(refused(&other, JOIN, NOW), Some(Code::Forbidden));
    }

    #[test]
    fn a_join_is_for_the_user_of_the_token() {
        let identity = identity(r#"[{"room":"**","allow":["join"]}]"#, NOW + 1);
        for (user, code) in [(r#""ann""#, None), ("null", None), (r#""ben""#, Some(Code::Forbidden))] {
            let request = format!(r#"["presence:join",{{"roomId":"r","userId":{user}}}]"#);
            assert_eq!(refused(&identity, &request, NOW), code, "{user}");
        }
    }

    #[test]
    fn a_token_that_ended_allows_only_to_stay_to_leave_and_to_refresh() {
        let identity =
            identity(r#"[{"room":"**","allow":["join","lock","metadata:read","metadata:write"]}]"#, NOW - LEEWAY_S);
        for request in [JOIN, READ, SET, CLEAR, LOCK, PATCH] {
            assert_eq!(refused(&identity, request, NOW - 1), None, "{request}");
            assert_eq!(refused(&identity, request, NOW), Some(Code::Unauthenticated), "{request}");
        }
        let release = r#"["lock:release",{"channelName":"a","channelType":"T","lockName":"l","fence":1}]"#;
        for request in
            [release, r#"["presence:heartbeat"]"#, r#"["presence:leave"]"#, r#"["auth:refresh",{"token":"t"}]"#]
        {
            assert_eq!(refused(&identity, request, NOW + 60), None, "{request}");
        }
    }
}
