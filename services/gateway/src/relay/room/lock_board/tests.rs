use super::*;

fn granted(op: u64) -> LockEvent<'static> {
    LockEvent {
        change: Change::Acquired,
        fence: 7,
        expires_at_ms: 1_000,
        op,
        traceparent: None,
        kind: "T",
        name: "pen",
        conn: "c1",
        owner: "ann",
    }
}

/// The connection gave up its first try and tries again, while the grant of the first try is still on its way.
#[test]
fn a_waiter_takes_only_the_grant_of_its_own_operation() {
    let (room, key) = (RoomId::from("room"), (ChannelType::from("T"), LockName::from("pen")));
    let (updates, received) = watch::channel(LockUpdate::None);
    let waiters = HashMap::from([(ConnId::from("c1"), Waiter { op: 5, updates })]);
    let mut locks = LockBoard { waiting: HashMap::from([(key.clone(), waiters)]), ..LockBoard::default() };
    locks.update_waiters(&room, &key, &granted(4));
    let update = received.borrow().clone();
    assert!(matches!(update, LockUpdate::Holder { expires_at_ms: 1_000 }), "{update:?}");
    locks.update_waiters(&room, &key, &granted(5));
    let update = received.borrow().clone();
    assert!(matches!(&update, LockUpdate::Granted(held) if held.fence == 7), "{update:?}");
}
