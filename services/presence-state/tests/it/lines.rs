//! Long lines: several locks of one room's name, each with many who wait.

use fred::{
    interfaces::{ClientLike as _, KeysInterface as _},
    types::InfoKind,
};
use rollcall_protocol::command::lock::Locked;

use crate::{locks::held, site::Site};

const WAIT_MS: u64 = 5_000;

impl Site {
    /// Stands in line; answers how many are ahead.
    async fn stand(&self, name: &str, conn: &str, op: u64) -> u64 {
        match self.acquire(name, conn, op, WAIT_MS).await {
            Locked::Waits { ahead, .. } => ahead,
            other => panic!("{other:?}"),
        }
    }

    /// How often Redis carried out a command.
    async fn calls(&self, command: &str) -> u64 {
        let stats: String = self.redis().info(Some(InfoKind::CommandStats)).await.unwrap();
        let start = format!("cmdstat_{command}:calls=");
        let calls = stats.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok());
        calls.unwrap_or_default()
    }
}

#[tokio::test]
async fn each_line_goes_on_by_itself_however_long_the_others_are() {
    let site = Site::open().await;
    let first = held(&site.acquire("first", "a", 1, 0).await).fence;
    let second = held(&site.acquire("second", "b", 1, 0).await).fence;
    for n in 0..40 {
        assert_eq!(site.stand("first", &format!("f{n}"), 1).await, n);
    }
    for n in 0..20 {
        assert_eq!(site.stand("second", &format!("s{n}"), 1).await, n);
    }
    assert_eq!(site.stand("second", "s19", 2).await, 19, "who asks again keeps its place");
    assert_eq!(site.release("second", "b", 2, second).await, Locked::Done);
    assert_eq!(site.release("first", "a", 2, first).await, Locked::Done);
    let holders: Vec<_> = site.locks().await.into_iter().map(|held| held.conn.as_str().to_owned()).collect();
    assert!(
        holders.len() == 2 && holders.contains(&"f0".to_owned()) && holders.contains(&"s0".to_owned()),
        "{holders:?}"
    );
    assert_eq!(site.stand("second", "s19", 3).await, 18);
}

#[tokio::test]
async fn locks_and_places_in_line_are_counted_apart() {
    let site = Site::open().await;
    for n in 0..256 {
        held(&site.acquire(&format!("l{n}"), "a", n + 1, 0).await);
    }
    assert_eq!(site.acquire("one more", "b", 1, WAIT_MS).await, Locked::Full);
    assert_eq!(site.stand("l0", "b", 2).await, 0, "one may wait for a lock that is held");
    let fence = held(&site.acquire("l1", "a", 257, 0).await).fence;
    site.release("l1", "a", 258, fence).await;
    for n in 1..256 {
        site.stand("l0", &format!("w{n}"), 1).await;
    }
    assert_eq!(site.acquire("l0", "one more", 1, WAIT_MS).await, Locked::Full);
    held(&site.acquire("l1", "c", 1, WAIT_MS).await);
}

#[tokio::test]
async fn lines_are_read_once_however_many_locks_end() {
    let site = Site::open().await;
    for n in 0..100 {
        held(&site.acquire(&format!("l{n}"), "a", n + 1, 0).await);
    }
    for n in 0..100 {
        site.stand("l0", &format!("w{n}"), 1).await;
    }
    for n in 1..100 {
        site.outlive(&format!("l{n}")).await;
    }
    let before = site.calls("zrange").await;
    site.expire_locks().await;
    assert_eq!(site.locks().await.len(), 1);
    // All lines once, and a page to see whether the gateway stays in the index.
    assert!(site.calls("zrange").await <= before + 2, "each lock that ended read the lines of the others");
}

#[tokio::test]
async fn who_waits_keeps_its_gateway_in_the_index_though_a_lock_of_it_ended_in_the_same_call() {
    let site = Site::open().await;
    held(&site.acquire_elsewhere("l", "a", 0).await);
    site.outlive("l").await;
    let fence = held(&site.acquire("l", "b", 1, 0).await).fence;
    site.release("l", "b", 2, fence).await;
    // Its own lock has ended and goes to the next in line; then it stands in line for it.
    held(&site.acquire_elsewhere("m", "c", 0).await);
    site.stand("m", "d", 1).await;
    site.outlive("m").await;
    assert!(matches!(site.acquire_elsewhere("m", "e", WAIT_MS).await, Locked::Waits { .. }));
    assert!(site.indexes(crate::site::OTHER).await);
}

#[tokio::test]
async fn a_lock_whose_key_was_lost_goes_to_the_first_in_line() {
    let site = Site::open().await;
    held(&site.acquire("l", "a", 1, 0).await);
    site.stand("l", "b", 1).await;
    site.stand("l", "c", 1).await;
    let () = site.redis().del(rollcall_keyspace::locks(&site.base(), &site.room)).await.unwrap();
    assert_eq!(site.stand("l", "c", 1).await, 0, "b has it, and c is next");
    assert_eq!(site.locks().await[0].conn.as_str(), "b");
    held(&site.acquire("l", "b", 1, WAIT_MS).await);
}
