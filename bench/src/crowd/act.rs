//! What a person does in a room. Knows the protocol; not when, or why, anything is done.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Client;

/// An answer that takes longer ends the visit. A lock is waited for at most `LOCK_WAIT_MS`.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long a person stands in line for a lock, and how long the lock lasts if it is not released.
const LOCK_WAIT_MS: u64 = 5000;
const LOCK_TTL_MS: u64 = 10_000;

/// Others may write between the read and the write of a counter. Then it is tried again, this often in all.
const COUNT_ATTEMPTS: u32 = 3;

/// The channel, the counter and the lock are those of the page at `/` of a gateway, so that who opens it meets the crowd.
const CHANNEL: &str = "playground";
const COUNTER: &str = "counter";
const LOCK: &str = "pen";

/// A person who has joined a room.
pub(crate) struct Visit {
    client: Client,
    room: String,
}

impl Visit {
    /// Joins `room` as `user`.
    pub(crate) async fn join(client: Client, room: &str, user: &str) -> io::Result<Self> {
        let mut visit = Self { client, room: room.to_owned() };
        let state = json!({"status": "available", "typing": false});
        visit.ask("presence:join", &json!({"roomId": room, "userId": user, "state": state})).await?;
        Ok(visit)
    }

    /// Receives what the room sends, and answers pings.
    pub(crate) async fn pause(&mut self, time: Duration) -> io::Result<()> {
        let due = Instant::now() + time;
        while let Ok(packet) = timeout_at(due, self.client.receive()).await {
            packet?;
        }
        Ok(())
    }

    /// A sign of life.
    pub(crate) async fn heartbeat(&mut self) -> io::Result<()> {
        self.ask("presence:heartbeat", &json!({})).await.map(drop)
    }

    /// Types for a while.
    pub(crate) async fn type_for(&mut self, time: Duration) -> io::Result<()> {
        self.ask("presence:heartbeat", &json!({"patchState": {"typing": true}})).await?;
        self.pause(time).await?;
        self.ask("presence:heartbeat", &json!({"patchState": {"typing": false}})).await.map(drop)
    }

    /// Adds one to the room's counter by compare-and-set.
    pub(crate) async fn count(&mut self) -> io::Result<()> {
        for _ in 0..COUNT_ATTEMPTS {
            let channel = self.ask("metadata:getChannel", &self.channel(json!({}))).await?;
            let (event, payload) = next_count(&channel);
            if self.ask_unless(event, &self.channel(payload), "METADATA_CONFLICT").await?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the room's lock, holds it for a while, and releases it. Who waits too long goes without.
    pub(crate) async fn take_turn(&mut self, time: Duration) -> io::Result<()> {
        let acquire = self.channel(json!({"lockName": LOCK, "ttlMs": LOCK_TTL_MS, "waitMs": LOCK_WAIT_MS}));
        let Some(held) = self.ask_unless("lock:acquire", &acquire, "LOCK_HELD").await? else { return Ok(()) };
        self.pause(time).await?;
        let release = self.channel(json!({"lockName": LOCK, "fence": held["fence"]}));
        self.ask("lock:release", &release).await.map(drop)
    }

    /// Leaves the room.
    pub(crate) async fn leave(mut self) -> io::Result<()> {
        self.ask("presence:leave", &json!({})).await.map(drop)
    }

    /// A payload about the room's channel.
    fn channel(&self, mut payload: Value) -> Value {
        payload["channelName"] = json!(self.room);
        payload["channelType"] = json!(CHANNEL);
        payload
    }

    async fn ask(&mut self, event: &str, payload: &Value) -> io::Result<Value> {
        let payload = payload.to_string();
        let answer = timeout(ANSWER_WITHIN, self.client.call(event, &payload)).await;
        let answer = answer.map_err(|_| io::Error::other(format!("{event} was not answered")))??;
        judged(event, serde_json::from_slice(&answer)?)
    }

    /// The same; an answer with this code is no fault, and nothing.
    async fn ask_unless(&mut self, event: &str, payload: &Value, code: &str) -> io::Result<Option<Value>> {
        match self.ask(event, payload).await {
            Err(error) if error.to_string().ends_with(code) => Ok(None),
            answer => answer.map(Some),
        }
    }
}

/// The answer, or an error that ends with its code.
fn judged(event: &str, answer: Value) -> io::Result<Value> {
    if answer["ok"] == true {
        return Ok(answer);
    }
    Err(io::Error::other(format!("{event} was answered {}", answer["code"].as_str().unwrap_or("nothing sensible"))))
}

/// The write that adds one to the counter of `channel`: the event and its payload.
fn next_count(channel: &Value) -> (&'static str, Value) {
    let count = channel["metadata"][COUNTER]["value"].as_u64();
    let event = if count.is_some() { "metadata:updateChannel" } else { "metadata:setChannel" };
    let data = json!([{"key": COUNTER, "value": count.unwrap_or(0) + 1}]);
    (event, json!({"data": data, "options": {"majorRevision": channel["majorRevision"]}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_count_creates_the_channel_and_the_next_ones_update_it() {
        let (event, payload) = next_count(&json!({"ok": true, "majorRevision": 0, "metadata": {}}));
        assert_eq!(event, "metadata:setChannel");
        assert_eq!(payload, json!({"data": [{"key": "counter", "value": 1}], "options": {"majorRevision": 0}}));
        let (event, payload) =
            next_count(&json!({"majorRevision": 9, "metadata": {"counter": {"value": 4, "revision": 2}}}));
        assert_eq!((event, &payload["data"][0]["value"]), ("metadata:updateChannel", &json!(5)));
        assert_eq!(payload["options"]["majorRevision"], 9);
    }

    #[test]
    fn a_refusal_names_the_event_and_the_code() {
        assert!(judged("lock:acquire", json!({"ok": true, "fence": 3})).is_ok());
        let refused = judged("lock:acquire", json!({"ok": false, "error": "No.", "code": "LOCK_HELD"}));
        assert_eq!(refused.unwrap_err().to_string(), "lock:acquire was answered LOCK_HELD");
        assert!(judged("presence:join", json!({})).is_err());
    }
}
