//! What a room published, heard by a client of its own.

use fred::{
    clients::Client,
    interfaces::{EventInterface as _, PubsubInterface as _},
    types::Message,
};
use rollcall_bus::redis;
use rollcall_protocol::{
    RoomId,
    event::{Kind, Reason, RoomEvent},
};
use tokio::{sync::broadcast::Receiver, time::timeout};

/// Said after everything else that the room can have said.
const END: &str = "end";

/// A published event, by its own text.
#[derive(Clone)]
pub(crate) struct Published(String);

impl Published {
    /// The event.
    pub(crate) fn read(&self) -> RoomEvent<'_> {
        RoomEvent::read(&self.0).expect("only events are published")
    }

    /// What tests most often ask about: seq, what happened, to whom, why, whether the user came first or left last.
    pub(crate) fn gist(&self) -> (u64, Kind, &str, Option<Reason>, bool) {
        let event = self.read();
        (event.at.seq, event.kind, event.conn, event.reason, event.user_edge)
    }
}

/// An ear at a room.
pub(crate) struct Events {
    publisher: Client,
    channel: String,
    messages: Receiver<Message>,
}

impl Events {
    /// Listens to `room` from now on.
    pub(crate) async fn of(redis: &redis::Redis, room: &RoomId) -> Self {
        let channel = redis.subjects.room_events(room);
        let messages = redis.subscriber.message_rx();
        redis.subscriber.ssubscribe(&channel).await.unwrap();
        Self { publisher: redis.commands.clone(), channel, messages }
    }

    /// All events of presence that were published since the last look.
    pub(crate) async fn so_far(&mut self) -> Vec<Published> {
        self.texts().await.into_iter().map(Published).collect()
    }

    /// All that was published since the last look, as it was. Redis keeps the order of what it received, so nothing can
    /// come after the mark that belongs before it.
    pub(crate) async fn texts(&mut self) -> Vec<String> {
        let () = self.publisher.spublish(&self.channel, END).await.unwrap();
        let mut events = Vec::new();
        loop {
            let message =
                timeout(rollcall_testkit::WITHIN, self.messages.recv()).await.expect("the mark comes").unwrap();
            if message.channel != self.channel {
                continue;
            }
            match message.value.into_string().expect("events are text") {
                text if text == END => return events,
                text => events.push(text),
            }
        }
    }

    /// The one event that was published since the last look.
    pub(crate) async fn only(&mut self) -> Published {
        let mut events = self.so_far().await;
        assert_eq!(events.len(), 1);
        events.remove(0)
    }
}
