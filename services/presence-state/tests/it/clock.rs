//! Redis' clock may go back. What begins from it grows all the same.

use fred::interfaces::HashesInterface as _;
use rollcall_protocol::command::metadata::Act;

use crate::{
    locks::held,
    metadata::{change, item},
    site::Site,
};

/// Later than any clock says.
const FAR_US: u64 = 8_000_000_000_000_000;

impl Site {
    async fn note(&self, field: &str, value: String) {
        let key = rollcall_keyspace::revisions(&self.base(), &self.room);
        let () = self.redis().hset(key, (field, value)).await.unwrap();
    }
}

#[tokio::test]
async fn a_revision_of_another_history_is_above_the_last_one() {
    let site = Site::open().await;
    site.note("T", format!("{FAR_US} 1 ffffffff")).await;
    site.write("T", &Act::Set(change("c1", 1, vec![item("k", Some("1"), None)]))).await;
    assert_eq!(site.record("T").await.major_revision, FAR_US + 1);
}

#[tokio::test]
async fn a_fence_is_above_the_last_one() {
    let site = Site::open().await;
    site.note("", FAR_US.to_string()).await;
    assert_eq!(held(&site.acquire("l", "a", 1, 0).await).fence, FAR_US + 1);
}
