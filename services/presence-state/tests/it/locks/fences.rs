//! Fences grow, and a guarded write asks for the newest one.

use fred::interfaces::KeysInterface as _;
use rollcall_presence_state::store::Written;
use rollcall_protocol::command::metadata::{Act, Rejection};

use super::held;
use crate::{
    metadata::{change, item},
    site::Site,
};

#[tokio::test]
async fn a_guarded_write_is_its_holders_alone() {
    let site = Site::open().await;
    let write = |conn: &str, op, fence| {
        let mut change = change(conn, op, vec![item("k", Some("1"), None)]);
        change.options.lock = Some("l".into());
        change.options.fence = fence;
        Act::Set(change)
    };
    let is_refused = async |act: Act| matches!(site.write("T", &act).await, Written::Rejected(Rejection::Lock));
    assert!(is_refused(write("a", 1, None)).await);
    let fence = held(&site.acquire("l", "a", 2, 0).await).fence;
    assert!(!is_refused(write("a", 3, None)).await && !is_refused(write("a", 4, Some(fence))).await);
    assert!(is_refused(write("a", 5, Some(fence - 1))).await && is_refused(write("b", 1, Some(fence))).await);
    site.outlive("l").await;
    assert!(is_refused(write("a", 6, Some(fence))).await, "its time is over, whether someone noticed or not");
}

#[tokio::test]
async fn fences_grow_where_they_were_forgotten() {
    let site = Site::open().await;
    let first = held(&site.acquire("l", "a", 1, 0).await).fence;
    site.acquire("l", "b", 1, 5_000).await;
    let base = site.base();
    let keys = [
        rollcall_keyspace::locks(&base, &site.room),
        rollcall_keyspace::waiters(&base, &site.room),
        rollcall_keyspace::revisions(&base, &site.room),
    ];
    let left: i64 = site.redis().pttl(&keys[2]).await.unwrap();
    assert!(left > 0, "the last fence would stay: {left}");
    let () = site.redis().del(keys.to_vec()).await.unwrap();
    assert!(held(&site.acquire("l", "c", 1, 0).await).fence > first);
}
