//! How load is put on servers and measured. Roles decide what is sent, scenarios how much.

mod closed_loop;
pub(crate) mod lane;
pub(crate) mod measure;
mod paced;
pub(crate) mod rest;
pub(crate) mod soak;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::actor::Actor;
use crate::actor::bare::Bare;
use crate::actor::member::Member;
use crate::client::Client;

/// How many connect or join at the same time.
const WIDTH: usize = 64;

/// No preparation takes longer.
const PREPARED_WITHIN: Duration = Duration::from_secs(60);

/// How long a load warms up and how long it is then measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Before the measurement.
    pub(crate) warm: Duration,
    /// The measurement.
    pub(crate) measured: Duration,
}

/// Connects `count` clients that have no role yet.
pub(crate) async fn connect(address: SocketAddr, count: usize) -> io::Result<Vec<Client>> {
    in_parallel((0..count).collect(), move |_| Client::connect(address)).await
}

/// Connects `count` clients of the echo server.
pub(crate) async fn echoers(address: SocketAddr, count: usize) -> io::Result<Vec<Actor<Bare>>> {
    let clients = connect(address, count).await?;
    Ok(clients.into_iter().map(|client| Actor::new(client, Bare::echo())).collect())
}

/// Joins the clients to `rooms` rooms in turn, so that those of one room are far apart in the order of clients.
pub(crate) async fn join(clients: Vec<Client>, rooms: usize, prefix: &'static str) -> io::Result<Vec<Actor<Member>>> {
    let numbered = clients.into_iter().enumerate().collect();
    in_parallel(numbered, move |(number, client): (usize, Client)| async move {
        Member::join(client, &format!("{prefix}-{}", number % rooms), &format!("u{number}")).await
    })
    .await
}

/// Connects `count` members and joins them to `rooms` rooms.
pub(crate) async fn members(address: SocketAddr, count: usize, rooms: usize) -> io::Result<Vec<Actor<Member>>> {
    join(connect(address, count).await?, rooms, "room").await
}

/// Works through `items` with a bounded number at a time; the order of the results is that of the items.
pub(crate) async fn in_parallel<I, T, F>(
    items: Vec<I>,
    work: impl Fn(I) -> F + Clone + Send + 'static,
) -> io::Result<Vec<T>>
where
    I: Send + 'static,
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send,
{
    let mut lanes = (0..WIDTH).map(|_| Vec::new()).collect::<Vec<_>>();
    for (number, item) in items.into_iter().enumerate() {
        lanes[number % WIDTH].push((number, item));
    }
    let mut tasks = JoinSet::new();
    for lane in lanes {
        let work = work.clone();
        tasks.spawn(async move {
            let mut done = Vec::with_capacity(lane.len());
            for (number, item) in lane {
                done.push((number, work(item).await?));
            }
            io::Result::Ok(done)
        });
    }
    let mut results = Vec::new();
    let collect = async {
        while let Some(lane) = tasks.join_next().await {
            results.extend(lane??);
        }
        io::Result::Ok(())
    };
    timeout(PREPARED_WITHIN, collect)
        .await
        .map_err(|_| io::Error::other("the clients were not connected in time"))??;
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_keep_the_order_of_the_items() {
        let results = in_parallel((0..1000).collect(), async |item: i32| Ok(item * 2)).await.unwrap();
        assert_eq!(results, (0..1000).map(|item| item * 2).collect::<Vec<_>>());
    }
}
