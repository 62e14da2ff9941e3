//! What must hold of everything that a room ever says, whatever happened in it. It knows no model.

use std::collections::BTreeMap;

use rollcall_protocol::event::Kind;

use crate::events::Published;

/// Checks a room's events from the first on.
pub(super) fn check(events: &[Published]) {
    let (mut generation, mut seq, mut token) = (0, 0, 0);
    // Who is in the room, of which user.
    let mut present: BTreeMap<String, String> = BTreeMap::new();
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().map(Published::read) {
        if present.is_empty() {
            assert!(event.at.generation > generation, "an empty room begins again, later");
            (generation, seq, token) = (event.at.generation, 0, 0);
        }
        seq += 1;
        assert_eq!(
            (event.at.generation, event.at.seq),
            (generation, seq),
            "consecutive within a generation: {event:?}"
        );
        assert_eq!(event.previous_token, token, "a chain: {event:?}");
        assert!(event.at.token > token);
        token = event.at.token;
        let epoch = epochs.entry(event.conn.to_owned()).or_default();
        assert!(event.epoch >= *epoch, "an epoch went back from {epoch}: {event:?}");
        *epoch = event.epoch;

        let others = present.iter().filter(|(conn, user)| *user == event.user && *conn != event.conn).count();
        match event.kind {
            Kind::Restore if present.contains_key(event.conn) => {}
            Kind::Join | Kind::Restore => {
                assert!(
                    present.insert(event.conn.to_owned(), event.user.to_owned()).is_none(),
                    "joined twice: {event:?}"
                );
                assert_eq!(event.user_edge, others == 0, "userJoined: {event:?}");
            }
            Kind::Update => assert!(present.contains_key(event.conn), "updated while away: {event:?}"),
            Kind::Leave => {
                assert!(present.remove(event.conn).is_some(), "left without having joined: {event:?}");
                assert_eq!(event.user_edge, others == 0, "userLeft: {event:?}");
                assert!(event.reason.is_some());
            }
        }
    }
    assert!(present.is_empty(), "everyone who joined has left: {present:?}");
}
