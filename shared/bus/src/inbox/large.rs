//! Large replies. The answer to a join has up to 8 MiB, which take 5 ms to read on an idle core, and eight of a room may be under way.
//! They are read one after the other on a thread for blocking work, so that meanwhile events and other replies are delivered. The order
//! of replies among each other and towards events says nothing: each goes to a task of its own.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fred::types::Message;
use rollcall_protocol::envelope::Kind;
use tokio::{sync::mpsc, task::spawn_blocking};

/// From this size on a reply is large. A smaller one is read within a millisecond.
const LARGE: usize = 256 * 1024;

/// How many bytes of them wait at most. Beyond that they are read where they arrive, which holds up what is sent here.
const MOST_WAITING: usize = 64 * 1024 * 1024;

/// Where large replies wait.
#[derive(Clone)]
pub(crate) struct LargeReplies {
    sender: mpsc::UnboundedSender<Message>,
    bytes: Arc<AtomicUsize>,
}

/// The other end.
pub(crate) struct Waiting {
    receiver: mpsc::UnboundedReceiver<Message>,
    bytes: Arc<AtomicUsize>,
}

impl LargeReplies {
    pub(crate) fn new() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let bytes = Arc::<AtomicUsize>::default();
        (Self { sender, bytes: Arc::clone(&bytes) }, Waiting { receiver, bytes })
    }

    /// Takes a message of the own inbox if it is a large reply and may wait; otherwise returns it.
    pub(super) fn take(&self, message: Message) -> Option<Message> {
        let Some(text) = message.value.as_bytes() else { return Some(message) };
        let bytes = text.len();
        if bytes < LARGE
            || Kind::of(text) != Some(Kind::Reply)
            || self.bytes.load(Ordering::Relaxed) + bytes > MOST_WAITING
        {
            return Some(message);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sender.send(message).err().map(|error| error.0)
    }
}

impl Waiting {
    /// Reads them, forever.
    pub(crate) async fn read(mut self, resolve: impl Fn(&Message) + Send + Sync + 'static) {
        let resolve = Arc::new(resolve);
        while let Some(message) = self.receiver.recv().await {
            self.bytes.fetch_sub(message.value.as_bytes().map_or(0, <[u8]>::len), Ordering::Relaxed);
            let resolve = Arc::clone(&resolve);
            if let Err(error) = spawn_blocking(move || resolve(&message)).await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as std_mpsc;

    use fred::types::{MessageKind, config::Server};

    use super::*;

    fn message(kind: &str, bytes: usize) -> Message {
        let text = format!(r#"{{"version":2,"id":1,"kind":"{kind}","items":["{}"]}}"#, "x".repeat(bytes));
        let (kind, server) = (MessageKind::SMessage, Server::new("h", 1));
        Message { channel: "inbox".into(), value: text.into(), kind, server }
    }

    /// Requests are kept in the order in which they came.
    #[test]
    fn only_large_replies_are_read_elsewhere() {
        let (large, _waiting) = LargeReplies::new();
        for (kind, bytes, is_taken) in
            [("reply", LARGE, true), ("reply", 100, false), ("request", LARGE, false), ("probe", LARGE, false)]
        {
            assert_eq!(large.take(message(kind, bytes)).is_none(), is_taken, "{kind} {bytes}");
        }
    }

    #[tokio::test]
    async fn those_that_wait_are_bounded_in_bytes() {
        let (large, waiting) = LargeReplies::new();
        let taken = (0..1000).filter(|_| large.take(message("reply", 1024 * 1024)).is_none()).count();
        assert!((60..64).contains(&taken), "{taken}");
        let (read, mut wait_for_read) = mpsc::unbounded_channel();
        let reader = tokio::spawn(waiting.read(move |_| {
            let _ = read.send(());
        }));
        for _ in 0..taken {
            wait_for_read.recv().await.unwrap();
        }
        assert!(large.take(message("reply", 1024 * 1024)).is_none(), "there is space again");
        drop(large);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn while_one_is_read_the_task_of_the_inbox_goes_on() {
        let (large, waiting) = LargeReplies::new();
        let (begun, mut wait_for_begin) = mpsc::unbounded_channel();
        let (go_on, wait_to_go_on) = std_mpsc::channel::<()>();
        let wait_to_go_on = parking_lot::Mutex::new(wait_to_go_on);
        let reader = tokio::spawn(waiting.read(move |message| {
            let _ = begun.send(message.value.as_bytes().map_or(0, <[u8]>::len));
            let _ = wait_to_go_on.lock().recv();
        }));
        for _ in 0..2 {
            assert!(large.take(message("reply", LARGE)).is_none());
        }
        assert!(wait_for_begin.recv().await.unwrap() > LARGE, "on the only thread of the runtime, which is free");
        assert!(wait_for_begin.try_recv().is_err(), "one after the other");
        go_on.send(()).unwrap();
        wait_for_begin.recv().await.unwrap();
        drop((go_on, large));
        reader.await.unwrap();
    }
}
