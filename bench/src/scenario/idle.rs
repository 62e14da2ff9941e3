//! What a member costs that does nothing but answer pings: CPU of all processes, what it adds to Redis' main thread, and bytes
//! in Redis. The same number of connections to the echo are pinged just as often; they join nothing.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Bench;
use crate::actor::member::joined_epoch;
use crate::client::Client;
use crate::load::rest::Resting;
use crate::load::{connect, in_parallel};
use crate::report::{Report, Row};
use crate::servers::{Servers, redis};

const CONNECTIONS: usize = 8000;

/// Members of one room.
const ROOM: usize = 4;

/// The gateway's default, and the echo's: a window of this length has one ping for each connection.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long the servers are measured before anyone connects: a few turns of everything that they do by the clock.
const EMPTY: Duration = Duration::from_secs(12);

/// Readings of all counters.
struct Reading {
    at: Instant,
    ours: Vec<(&'static str, Duration)>,
    echo: Duration,
    redis_thread: Duration,
}

/// What was used between two readings, in microseconds of CPU per second and connection.
struct Cost {
    ours: Vec<(&'static str, f64)>,
    echo: f64,
    redis_thread: f64,
}

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let (mut echo, mut ours) = (Servers::echo().await?, bench.rollcall().await?);
    sleep(bench.rest()).await;
    let start = Reading::take(&ours, &echo).await?;
    sleep(EMPTY).await;
    let empty = Reading::take(&ours, &echo).await?.since(&start);

    let (mut resting, address) = (Resting::default(), ours.address);
    resting.add(connect(echo.address, CONNECTIONS).await?);
    resting.add(in_parallel((0..CONNECTIONS).collect(), move |number| join(address, number)).await?);
    sleep(bench.rest()).await;
    let start = Reading::take(&ours, &echo).await?;
    sleep(PING_INTERVAL * bench.ping_intervals()).await;
    let idle = Reading::take(&ours, &echo).await?.since(&start);
    echo.check()?;
    ours.check()?;
    resting.check()?;
    let bytes = redis::delete_all(ours.redis()?).await?;
    Ok(Report {
        rows: vec![
            Row::new("idle connection, of 8,000: CPU per connection-second", idle.total(), "µs")
                .yardstick(idle.echo)
                .at_most(4.0),
            Row::new("— Redis' main thread, less its load without connections", idle.redis_thread - empty.redis_thread, "µs")
                .at_most(0.2),
            Row::new("Redis bytes per member, rooms of four", bytes as f64 / CONNECTIONS as f64, "B").at_most(300.0),
        ],
        notes: vec![
            format!("idle connections: rooms of four, a ping every 20 s; {}", idle.by_process()),
            format!("the same servers before anyone connected, divided by as many: {}", empty.by_process()),
            "bytes per member: what deleting all keys gives back; ids of 16 characters, 16 bytes of state, no subscriptions"
                .to_owned(),
        ],
        ..Report::default()
    })
}

/// Connects and joins, with ids of 16 characters and 16 bytes of state.
async fn join(address: SocketAddr, number: usize) -> io::Result<Client> {
    let mut client = Client::connect(address).await?;
    let payload =
        format!(r#"{{"roomId":"room-{:011}","userId":"user-{number:011}","state":{{"state":"idle"}}}}"#, number / ROOM);
    let answer = client.call("presence:join", &payload).await?;
    joined_epoch(&answer).map_err(io::Error::other)?;
    Ok(client)
}

impl Reading {
    async fn take(ours: &Servers, echo: &Servers) -> io::Result<Self> {
        Ok(Self {
            redis_thread: redis::thread_cpu(ours.redis()?).await?,
            ours: ours.cpu()?,
            echo: echo.cpu()?.iter().map(|(_, time)| *time).sum(),
            at: Instant::now(),
        })
    }

    fn since(&self, earlier: &Self) -> Cost {
        let seconds = (self.at - earlier.at).as_secs_f64() * CONNECTIONS as f64;
        let cost = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e6 / seconds;
        let ours = self.ours.iter().zip(&earlier.ours).map(|((name, now), (_, then))| (*name, cost(*now, *then)));
        Cost {
            ours: ours.collect(),
            echo: cost(self.echo, earlier.echo),
            redis_thread: cost(self.redis_thread, earlier.redis_thread),
        }
    }
}

impl Cost {
    fn total(&self) -> f64 {
        self.ours.iter().map(|(_, cost)| cost).sum()
    }

    fn by_process(&self) -> String {
        let ours = self.ours.iter().map(|(name, cost)| format!("{name} {cost:.2}")).collect::<Vec<_>>().join(", ");
        format!("{ours} µs (Redis' main thread {:.2}), echo {:.2} µs", self.redis_thread, self.echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_per_connection_and_second() {
        let (at, us) = (Instant::now(), Duration::from_micros);
        let reading = |seconds, cpu: u64| Reading {
            at: at + Duration::from_secs(seconds),
            ours: vec![("redis", us(cpu)), ("gateway", us(3 * cpu))],
            echo: us(cpu),
            redis_thread: us(cpu / 2),
        };
        let cost = reading(21, 160_000).since(&reading(1, 0));
        assert_eq!((cost.total(), cost.echo, cost.redis_thread), (4.0, 1.0, 0.5));
        assert_eq!(cost.by_process(), "redis 1.00, gateway 3.00 µs (Redis' main thread 0.50), echo 1.00 µs");
    }
}
