//! Evictions of connections whose gateway is gone, and of those that their gateway does not know any more.

use std::collections::BTreeSet;

use fred::interfaces::{ClientLike as _, HashesInterface as _, KeysInterface as _};
use rollcall_presence_state::store::Reaped;
use rollcall_protocol::{
    command::{Audit, Join, Restore, Strays},
    event::{Kind, Reason},
};

use crate::site::{GATEWAY, OTHER, Site, conns, join, restored};

fn reaped(evicted: u64, rooms: u64) -> Reaped {
    Reaped { evicted, rooms, ..Reaped::default() }
}

fn elsewhere(join: Join) -> Join {
    Join { gateway: OTHER.into(), ..join }
}

#[tokio::test]
async fn a_gone_gateways_connections_go_and_those_of_others_stay() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), elsewhere(join("c3", "ann", 1))]).await;
    let mut events = site.listen().await;
    assert_eq!(site.reap(&[GATEWAY]).await, reaped(2, 1));
    let events = events.so_far().await;
    let gone: BTreeSet<_> = events.iter().map(|event| event.read().conn).collect();
    assert_eq!((gone, events.len()), (BTreeSet::from(["c1", "c2"]), 2));
    assert!(events.iter().all(|event| event.read().reason == Some(Reason::NodeLost)));
    for event in &events {
        assert_eq!(event.read().user_edge, event.read().user == "bob", "ann is still there by c3");
    }
    assert_eq!(conns(&site.snapshot().await.members), ["c3"]);
    assert_eq!(site.reap(&[GATEWAY]).await, Reaped::default());
    assert_eq!(site.reap(&[OTHER]).await, reaped(1, 1));
    assert!(site.all_keys().await.is_empty(), "{:?}", site.all_keys().await);
}

#[tokio::test]
async fn a_large_room_is_cleared_in_calls_that_look_at_no_more_than_a_part_of_it() {
    let site = Site::open().await;
    for part in 0..30 {
        let joins: Vec<_> = (0..100)
            .map(|n| {
                let join = join(&format!("c{part}-{n}"), &format!("u{n}"), 1);
                if n % 2 == 0 { join } else { elsewhere(join) }
            })
            .collect();
        site.join_together(&joins).await;
    }
    let mut events = site.listen().await;
    let (mut evicted, mut calls) = (0, 0);
    loop {
        let reaped = site.reap(&[GATEWAY]).await;
        // A page more than what is asked for may come at once.
        assert!(reaped.evicted <= 400, "{reaped:?}");
        evicted += reaped.evicted;
        calls += 1;
        if !reaped.more {
            break;
        }
    }
    assert!(evicted == 1_500 && calls >= 4, "{evicted} in {calls} calls");
    let received: BTreeSet<_> = events.so_far().await.iter().map(|event| event.read().conn.to_owned()).collect();
    assert_eq!(received.len(), 1_500, "each once");
    assert_eq!(site.snapshot().await.members.len(), 1_500);
}

/// Has a connection join so many rooms of one partition. The site stands at the last one.
async fn joined_rooms(site: &mut Site, count: usize) -> Vec<rollcall_protocol::RoomId> {
    let partition = site.room.partition();
    let rooms = (0..).map(|n| rollcall_protocol::RoomId::from(format!("room {n}")));
    let rooms: Vec<_> = rooms.filter(|room| room.partition() == partition).take(count).collect();
    for room in &rooms {
        site.room = room.clone();
        site.join(join("c1", "ann", 1)).await;
    }
    rooms
}

#[tokio::test]
async fn many_rooms_are_cleared_and_their_index_with_them() {
    let mut site = Site::open().await;
    joined_rooms(&mut site, 120).await;
    let (mut evicted, mut more) = (0, true);
    while more {
        let reaped = site.reap(&[GATEWAY]).await;
        (evicted, more) = (evicted + reaped.evicted, reaped.more);
    }
    assert_eq!(evicted, 120);
    assert!(site.all_keys().await.is_empty(), "{:?}", site.all_keys().await);
}

#[tokio::test]
async fn a_room_that_cannot_be_read_keeps_no_other_waiting() {
    let mut site = Site::open().await;
    let rooms = joined_rooms(&mut site, 3).await;
    let () = site.redis().del(&site.keys()[1]).await.unwrap();
    let () = site.redis().set(&site.keys()[1], "not ours", None, None, false).await.unwrap();
    let done = site.reap(&[GATEWAY]).await;
    assert_eq!((done.evicted, done.broken, done.more), (2, vec![rooms[2].clone()], false));
    assert_eq!(site.reap(&[GATEWAY]).await, Reaped::default());
}

#[tokio::test]
async fn the_room_alone_can_be_cleared_of_a_gateway() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), elsewhere(join("c2", "bob", 1))]).await;
    assert_eq!(site.evict(&[GATEWAY]).await, 1);
    assert_eq!(conns(&site.snapshot().await.members), ["c2"]);
    assert_eq!(site.evict(&[GATEWAY]).await, 0);
}

#[tokio::test]
async fn a_record_of_a_form_that_is_not_ours_keeps_no_one_from_being_evicted() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), elsewhere(join("c3", "cyd", 1))]).await;
    let () = site.redis().hset(&site.keys()[1], ("c1", "not ours")).await.unwrap();
    assert_eq!(site.reap(&[GATEWAY]).await.evicted, 1);
    assert_eq!(conns(&site.snapshot().await.members), ["c3"]);
    assert!(!site.reap(&[GATEWAY]).await.more, "nor a reaper busy");
}

#[tokio::test]
async fn what_its_gateway_does_not_name_is_removed_unless_it_is_young() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), elsewhere(join("c3", "cyd", 1))]).await;
    let known = site.snapshot().await.members.into_iter().find(|member| member.conn.as_str() == "c1").unwrap();
    let restore = Restore {
        room: site.room.clone(),
        gateway: GATEWAY.into(),
        members: vec![restored("c1", "ann", 1, known.epoch, "{}")],
        strays: None,
    };
    let strays = |before_ms| Strays { before_ms, stay: Vec::new() };
    let mut events = site.listen().await;
    assert_eq!(site.store.prune(site.caller(), &restore, &strays(known.epoch)).await.unwrap(), 0);
    let later = site.bus.redis_now_ms() + 1_000;
    assert_eq!(site.store.prune(site.caller(), &restore, &strays(later)).await.unwrap(), 1);
    assert_eq!(events.only().await.gist(), (4, Kind::Leave, "c2", Some(Reason::Disconnected), true));
    assert_eq!(conns(&site.snapshot().await.members), ["c1", "c3"]);
}

#[tokio::test]
async fn an_audit_finds_what_differs_and_removes_what_no_one_has() {
    let mut site = Site::open().await;
    let partition = site.room.partition();
    let in_partition = (0..).map(|n| rollcall_protocol::RoomId::from(format!("room {n}")));
    let rooms: Vec<_> = in_partition.filter(|room| room.partition() == partition).take(3).collect();
    for room in &rooms {
        site.room = room.clone();
        site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    }
    let audit = |strays_before_ms| Audit {
        partition,
        gateway: GATEWAY.into(),
        rooms: vec![(rooms[0].clone(), 2), (rooms[1].clone(), 3)],
        strays_before_ms,
    };
    let young = site.store.audit(site.caller(), &audit(1)).await.unwrap();
    assert_eq!((young.differing, young.removed), (vec![rooms[1].clone()], 0));
    let later = site.bus.redis_now_ms() + 1_000;
    let audited = site.store.audit(site.caller(), &audit(later)).await.unwrap();
    assert_eq!((audited.differing, audited.removed), (vec![rooms[1].clone()], 2));
    assert!(site.snapshot().await.members.is_empty());
}

/// How many commands Redis has run since this was called last, those of scripts included.
async fn commands_run(site: &Site) -> u64 {
    let stats: String = site.redis().custom(fred::cmd!("INFO"), vec!["commandstats"]).await.unwrap();
    let () = site.redis().custom(fred::cmd!("CONFIG"), vec!["RESETSTAT"]).await.unwrap();
    let calls = stats.lines().filter_map(|line| line.split_once(":calls=")?.1.split(',').next()?.parse::<u64>().ok());
    calls.sum()
}

/// As many members as a room may have, half of them on a gateway that is gone, with locks and a line for each: no call does much,
/// for Redis does nothing else meanwhile.
#[tokio::test]
async fn no_call_blocks_redis_for_long_in_the_largest_room() {
    let site = Site::open().await;
    let mut most = 0;
    for part in 0..100 {
        let joins: Vec<_> = (0..100)
            .map(|n| {
                let join = join(&format!("c{part}-{n}"), &format!("user {}", n % 50), 1);
                if n % 2 == 0 { join } else { elsewhere(join) }
            })
            .collect();
        commands_run(&site).await;
        site.join_together(&joins).await;
        most = most.max(commands_run(&site).await);
    }
    for n in 0..250 {
        site.acquire(&format!("lock {n}"), &format!("c{}-0", n % 100), 2 + n, 0).await;
        site.acquire("lock 0", &format!("c{}-2", n % 100), 2 + n, 60_000).await;
    }
    commands_run(&site).await;
    assert_eq!(site.snapshot().await.members.len(), 10_000);
    most = most.max(commands_run(&site).await);
    assert_eq!(site.join(join("one more", "ann", 1)).await.result, rollcall_protocol::command::JoinResult::Full);
    let (mut evicted, mut more) = (0, true);
    while more {
        commands_run(&site).await;
        let reaped = site.reap(&[GATEWAY]).await;
        most = most.max(commands_run(&site).await);
        (evicted, more) = (evicted + reaped.evicted, reaped.more);
    }
    assert_eq!((evicted, site.snapshot().await.members.len()), (5_000, 5_000));
    // An eviction takes five commands. Without a limit, the first reap would run 25,000.
    assert!(most < 4_000, "{most} commands in one call");
}
