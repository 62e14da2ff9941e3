use std::net::SocketAddr;

use futures_util::future::join_all;
use rollcall_service::Tasks;
use rollcall_testkit::until;

use super::*;
use crate::auth::testing::{
    Issuer,
    server::{Answer, Server},
};

const HOUR: Duration = Duration::from_hours(1);

fn follow(url: &str, min_period: Duration) -> (Arc<Jwks>, Tasks) {
    let jwks = Arc::new(Jwks::new(Endpoint::parse(url).unwrap(), min_period));
    let tasks = Tasks::default();
    tasks.spawn_permanent("jwks", Arc::clone(&jwks).follow());
    (jwks, tasks)
}

async fn ids(jwks: &Jwks, kid: &str) -> Result<Vec<String>, Rejection> {
    Ok(jwks.keys(Some(kid)).await?.ids())
}

#[tokio::test]
async fn a_key_that_is_not_known_is_fetched_and_a_retired_one_is_forgotten() {
    let (old, new) = (Issuer::ed25519("old"), Issuer::ed25519("new"));
    let server = Server::start(Answer::keys(&[&old])).await;
    let (jwks, _tasks) = follow(&server.url(), Duration::ZERO);
    assert_eq!(ids(&jwks, "old").await.unwrap(), ["old"], "the first call waits for the first fetch");
    assert_eq!(server.requests(), 1);
    server.set(Answer::keys(&[&new, &old]));
    assert_eq!(ids(&jwks, "new").await.unwrap(), ["new", "old"]);
    assert_eq!(server.requests(), 2);
    server.set(Answer::keys(&[&new]));
    assert_eq!(ids(&jwks, "other").await.unwrap(), ["new"]);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_shares_one_fetch() {
    let key = Issuer::ed25519("known");
    let server = Server::start(Answer::keys(&[&key])).await;
    let (jwks, _tasks) = follow(&server.url(), Duration::ZERO);
    ids(&jwks, "known").await.unwrap();
    server.set(Answer::Held);
    let flood = (0..500).map(|n| format!("unknown {n}"));
    let flood = join_all(flood.map(async |kid| ids(&jwks, &kid).await));
    let release = async {
        until("the fetch that all wait for", async || (server.requests() == 2).then_some(())).await;
        assert!(ids(&jwks, "known").await.is_ok(), "known keys wait for nothing");
        server.set(Answer::keys(&[&key]));
    };
    let (answers, ()) = tokio::join!(flood, release);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|ids| ids == &["known"])));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn unknown_kids_fetch_no_more_often_than_they_may() {
    let server = Server::start(Answer::keys(&[&Issuer::ed25519("known")])).await;
    let (jwks, _tasks) = follow(&server.url(), HOUR);
    for n in 0..200 {
        assert_eq!(ids(&jwks, &format!("unknown {n}")).await.unwrap(), ["known"]);
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn known_keys_outlive_a_source_that_fails() {
    let server = Server::start(Answer::keys(&[&Issuer::ed25519("known")])).await;
    let (jwks, _tasks) = follow(&server.url(), Duration::ZERO);
    ids(&jwks, "known").await.unwrap();
    for answer in [Answer::status("500 Broken"), Answer::status("302 Found"), Answer::ok("<html>"), Answer::keys(&[])] {
        server.set(answer);
        assert_eq!(ids(&jwks, "unknown").await, Err(Rejection::NoKeys), "it may be a key that is new");
        assert_eq!(ids(&jwks, "known").await.unwrap(), ["known"]);
    }
}

#[tokio::test]
async fn keys_are_fetched_when_their_source_comes_up() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (jwks, _tasks) = follow(&format!("http://{address}/keys?all=1"), HOUR);
    assert_eq!(ids(&jwks, "known").await, Err(Rejection::NoKeys));
    assert_eq!(jwks.keys(None).await.map(drop), Err(Rejection::NoKeys));
    let _server = Server::at(address, Answer::keys(&[&Issuer::ed25519("known")])).await;
    until("the keys are fetched", async || ids(&jwks, "known").await.ok()).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_holds_no_one_up_for_long() {
    let server = Server::start(Answer::Held).await;
    let (jwks, _tasks) = follow(&server.url(), HOUR);
    let begun = Instant::now();
    assert_eq!(ids(&jwks, "known").await, Err(Rejection::NoKeys));
    assert!(begun.elapsed() <= FETCH_TIMEOUT * 2);
}
