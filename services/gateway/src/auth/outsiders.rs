//! Without authentication: whether metadata and locks of a name are for everyone, or only for members of the room of that name.

use rollcall_protocol::{Fault, RoomId, client::Request};

use super::permit::forbidden;

/// What clients may do that are not in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outsiders {
    /// The same as members.
    Allow,
    /// Nothing.
    Refuse,
}

impl Outsiders {
    /// Reads the setting.
    pub(crate) fn parse(text: &str) -> Result<Self, ()> {
        match text {
            "allow" => Ok(Self::Allow),
            "refuse" => Ok(Self::Refuse),
            _ => Err(()),
        }
    }

    /// Whether a client in `room` may ask for this.
    ///
    /// # Errors
    /// `FORBIDDEN`
    pub(crate) fn permit(self, request: &Request, room: impl FnOnce() -> Option<RoomId>) -> Result<(), Fault> {
        let name = match request {
            _ if self == Self::Allow => return Ok(()),
            Request::Metadata(asked) => &asked.0.name,
            Request::Lock(ask) => &ask.channel().name,
            Request::Join { .. } | Request::Heartbeat { .. } | Request::Leave | Request::Refresh(_) => return Ok(()),
        };
        match room() {
            Some(room) if room == *name => Ok(()),
            _ => Err(forbidden("metadata and locks are for members of the room of the channel's name; join it first")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rollcall_protocol::client::parse;

    use super::*;

    #[test]
    fn outsiders_have_no_channels_if_they_are_refused() {
        let permits = |rule: Outsiders, room: Option<&str>, json: &str| {
            rule.permit(&parse(json).unwrap(), || room.map(Into::into)).is_ok()
        };
        for json in [
            r#"["metadata:getChannel",{"channelName":"a","channelType":"T"}]"#,
            r#"["lock:acquire",{"channelName":"a","channelType":"T","lockName":"l"}]"#,
        ] {
            assert!(permits(Outsiders::Allow, None, json) && permits(Outsiders::Refuse, Some("a"), json));
            assert!(!permits(Outsiders::Refuse, None, json) && !permits(Outsiders::Refuse, Some("b"), json));
        }
        assert!(permits(Outsiders::Refuse, None, r#"["presence:join",{"roomId":"a","userId":"u"}]"#));
        assert!(permits(Outsiders::Refuse, None, r#"["presence:leave"]"#));
    }
}
