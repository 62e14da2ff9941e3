//! A Redis whose memory is full: nothing new is stored, nothing is half done, and what frees memory or keeps members goes on.

use presence_state::store::Written;
use protocol::{
    Code,
    command::{
        Heartbeat, Join, JoinResult,
        metadata::{Act, Metadata, Rejected},
    },
    event::{Reason, RoomEvent},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{
    metadata::{change, channel, item, items},
    site::{GATEWAY, Site, beat, conns, epoch, join, json, restored},
};

#[tokio::test]
async fn what_is_new_is_refused_and_what_is_there_stays_true() {
    let site = Site::open().await;
    let joined = site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let set = Act::Set(change("c1", 1, vec![item("k", Some("1"), None), item("l", Some("1"), None)]));
    site.write("T", &set).await;
    let mut events = site.listen().await;
    site.fill(true).await;

    let refused = |fault: protocol::Fault| assert_eq!(fault.code, Code::Overloaded, "{fault}");
    let one = join("c3", "cyd", 1);
    let joins = [(&one, TraceContext::default())];
    refused(site.store.join(site.caller(), &site.room, &joins).await.unwrap_err());
    let patch = Heartbeat { state: Some(json(r#"{"n":1}"#)), ..beat("c1", 2, 1) };
    refused(site.store.heartbeats(u64::MAX, &[(&patch, &Span::none())]).await.unwrap_err());
    for act in [Act::Set(change("c1", 2, vec![])), Act::Update(change("c1", 2, vec![item("k", Some("2"), None)]))] {
        let asked = Metadata { channel: channel(&site, "T"), act };
        refused(site.store.write_metadata(site.caller(), &asked).await.unwrap_err());
    }
    assert!(events.texts().await.is_empty(), "nothing was published");

    assert_eq!(conns(&site.snapshot().await.members), ["c1", "c2"]);
    assert_eq!(items(&site.record("T").await), [("k", "1", 1), ("l", "1", 1)]);
    site.write("T", &Act::Remove(change("c1", 3, vec![item("k", None, None)]))).await;
    assert_eq!(items(&site.record("T").await), [("l", "1", 1)]);
    assert_eq!(site.leave("c1", 3).await, Some(1));
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 1, epoch(&joined.joins[0]), "{}")]).await, 1);
    assert_eq!(site.reap(&[GATEWAY]).await.evicted, 2);
    let told = events.texts().await;
    let leaves = told.iter().filter_map(|text| RoomEvent::read(text));
    assert_eq!(leaves.filter(|event| event.reason == Some(Reason::NodeLost)).count(), 2);

    site.fill(false).await;
    assert_eq!(site.join(join("c3", "cyd", 1)).await.seq, 1, "and all is as before");
}

#[tokio::test]
async fn a_room_takes_no_more_than_it_may() {
    let site = Site::open().await;
    let state = format!(r#"{{"a":"{}"}}"#, "x".repeat(15_000));
    let join_large = |n: u64| Join { state: json(&state), ..join(&format!("c{n}"), "ann", 1) };
    let mut events = site.listen().await;
    let mut admitted = 0;
    'full: loop {
        let joins: Vec<_> = (admitted..admitted + 50).map(join_large).collect();
        for one in site.join_together(&joins).await.joins {
            if one.result == JoinResult::Full {
                break 'full;
            }
            admitted += 1;
        }
    }
    assert!((540..560).contains(&admitted), "{admitted}");
    assert_eq!(events.so_far().await.len() as u64, admitted, "anyone who was refused was told to no one");
    assert_eq!(site.snapshot().await.members.len() as u64, admitted);
    let larger = state.replace("xx\"}", &format!("{}\"}}", "y".repeat(16_000)));
    let grown = site.beat(Heartbeat { state: Some(json(&larger)), ..beat("c1", 2, 1) }).await;
    assert!(matches!(grown, presence_state::store::Beat::Full), "{grown:?}");
    let smaller = site.beat(Heartbeat { state: Some(json("{}")), ..beat("c1", 3, 1) }).await;
    assert!(matches!(smaller, presence_state::store::Beat::Taken { changed: true, .. }), "{smaller:?}");
    assert!(matches!(site.join(join_large(admitted)).await.result, JoinResult::Member { .. }), "there is room again");
}

#[tokio::test]
async fn a_name_has_no_more_types_than_it_may() {
    let site = Site::open().await;
    let set = |op| Act::Set(change("c1", op, vec![item("k", Some("1"), None)]));
    for n in 0..64 {
        assert!(matches!(site.write(&format!("T{n}"), &set(n + 1)).await, Written::Done(_)), "{n}");
    }
    let refused = site.write("one more", &set(65)).await;
    assert!(matches!(refused, Written::Rejected(Rejected::TooManyTypes)), "{refused:?}");
    assert!(matches!(site.write("T7", &set(66)).await, Written::Done(_)));
}
