//! Sessions that are in no namespace. Each costs its client one request and this process some 9 KiB, so there may be fewer of
//! them than of others, and each is closed after 10 s: before it ever entered by socketioxide, after it left by [`Outside`].

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;
use rollcall_telemetry::metrics::Refusal;
use socketioxide::socket::Sid;
use tokio::time::Instant;

use super::{
    address::{CountByAddress, CountedAddress, Source},
    refusals::record,
    transports::Transports,
};
use crate::{
    count::{Count, Counted},
    due_queue::DueQueue,
};

/// How long a session may be in no namespace.
pub(crate) const OUTSIDE_FOR: Duration = Duration::from_secs(10);

/// The sessions that are in no namespace.
pub(super) struct Outside {
    all: Count,
    of_address: CountByAddress,
    /// Those that left their namespace, each at most once.
    left: DueQueue<Weak<Slot>>,
    transports: Arc<Transports>,
}

/// Counts a session that is in no namespace.
type CountedOutside = (Counted, CountedAddress);

impl Outside {
    pub(super) fn new(transports: Arc<Transports>) -> Arc<Self> {
        Arc::new(Self {
            all: Count::default(),
            of_address: CountByAddress::default(),
            left: DueQueue::new(),
            transports,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> &Count {
        &self.all
    }

    /// A slot for a new session, unless there are as many already: in all, for which another gateway may have room, or of its address,
    /// which has had its share here.
    pub(super) fn slot(
        self: &Arc<Self>,
        source: Source,
        session: Counted,
        most: usize,
        most_of_address: usize,
    ) -> Result<Arc<Slot>, (StatusCode, &'static str)> {
        let why = "too many sessions have not connected to a namespace yet";
        let all = self.all.one_more_up_to(most).ok_or((StatusCode::SERVICE_UNAVAILABLE, why))?;
        let why = "too many sessions of this address have not connected to a namespace yet";
        let of_address = self.of_address.one_more_up_to(most_of_address, source);
        let of_address = of_address.ok_or((StatusCode::TOO_MANY_REQUESTS, why))?;
        let standing = Standing { outside: Some((all, of_address)), ..Standing::default() };
        Ok(Arc::new(Slot { outside: Arc::clone(self), source, _session: session, standing: Mutex::new(standing) }))
    }

    /// A session that left is not refused: it was admitted before.
    fn one_more(&self, source: Source) -> CountedOutside {
        (self.all.one_more(), self.of_address.one_more(source))
    }

    /// Closes the transports of sessions that left their namespace and do not enter it again.
    pub(super) async fn close_left(&self) {
        loop {
            if let Some(slot) = self.left.next().await.upgrade() {
                self.close_if_due(&slot);
            }
        }
    }

    fn close_if_due(&self, slot: &Arc<Slot>) {
        let mut standing = slot.standing.lock();
        let Some((sid, due)) = standing.left else {
            standing.is_queued = false;
            return;
        };
        let now = Instant::now();
        if due > now {
            return self.left.push(due, Arc::downgrade(slot));
        }
        if !standing.is_closing {
            standing.is_closing = true;
            record(Refusal::Handshakes, "a session stayed in no namespace for 10 s", None);
        }
        self.transports.end(sid.as_str());
        // It is gone soon; if it is not, it is closed again.
        self.left.push(now + OUTSIDE_FOR, Arc::downgrade(slot));
    }
}

/// The place of one session among all. The handshake's extensions carry it, and engineioxide keeps them exactly as long as it
/// keeps the session: what is counted is what takes memory.
pub(crate) struct Slot {
    outside: Arc<Outside>,
    source: Source,
    _session: Counted,
    standing: Mutex<Standing>,
}

/// Where a session stands.
#[derive(Default)]
struct Standing {
    /// How many of its sockets are in a namespace.
    inside: usize,
    /// While none is.
    outside: Option<CountedOutside>,
    /// After it left: its id, and when it is to be closed.
    left: Option<(Sid, Instant)>,
    /// Whether it is in the queue of those that left.
    is_queued: bool,
    is_closing: bool,
}

impl Slot {
    /// The session is in a namespace until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, sid: Sid) -> Inside {
        let mut standing = self.standing.lock();
        standing.inside += 1;
        standing.outside = None;
        standing.left = None;
        Inside { slot: Arc::clone(self), sid }
    }

    fn leave(self: &Arc<Self>, sid: Sid) {
        let mut standing = self.standing.lock();
        standing.inside -= 1;
        if standing.inside > 0 {
            return;
        }
        let due = Instant::now() + OUTSIDE_FOR;
        standing.outside = Some(self.outside.one_more(self.source));
        standing.left = Some((sid, due));
        if !standing.is_queued {
            standing.is_queued = true;
            self.outside.left.push(due, Arc::downgrade(self));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let standing = self.standing.get_mut();
        if let Some((sid, _)) = standing.left.filter(|_| standing.is_closing) {
            self.outside.transports.forget(sid.as_str());
        }
    }
}

/// A session is in a namespace as long as this guard lives.
pub(crate) struct Inside {
    slot: Arc<Slot>,
    sid: Sid,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.slot.leave(self.sid);
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::backlog::Backlog;
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::time::advance;

    use super::*;

    fn slot(outside: &Arc<Outside>) -> Result<Arc<Slot>, StatusCode> {
        let source = IpAddr::from(Ipv4Addr::LOCALHOST).into();
        outside.slot(source, Count::default().one_more(), 3, 2).map_err(|(status, _)| status)
    }

    #[tokio::test]
    async fn sessions_outside_are_bounded_in_all_and_for_each_address() {
        let outside = Outside::new(Transports::new(Arc::default(), Backlog::new(0)));
        let slots = [slot(&outside).unwrap(), slot(&outside).unwrap()];
        assert_eq!(slot(&outside).err(), Some(StatusCode::TOO_MANY_REQUESTS));
        let inside = slots[0].enter(Sid::ZERO);
        let third = slot(&outside).unwrap();
        assert_eq!(outside.count().get(), 2);
        drop(inside);
        assert_eq!(outside.count().get(), 3, "one that left counts again, over the limit of its address");
        assert_eq!(slot(&outside).err(), Some(StatusCode::SERVICE_UNAVAILABLE));
        drop((slots, third));
        assert_eq!(outside.count().get(), 0);
        assert!(slot(&outside).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_left_is_closed_unless_it_enters_again() {
        let transports = Transports::new(Arc::default(), Backlog::new(0));
        let outside = Outside::new(Arc::clone(&transports));
        let (sid, slot) = (Sid::ZERO, slot(&outside).unwrap());
        let step = async |seconds| {
            advance(Duration::from_secs(seconds)).await;
            let _ = tokio::time::timeout(Duration::from_millis(1), outside.close_left()).await;
            transports.has_ended(sid.as_str())
        };
        let old = slot.enter(sid);
        drop(old);
        assert!(!step(6).await);
        let again = slot.enter(sid);
        let other = slot.enter(sid);
        drop(again);
        assert!(!step(6).await, "the other socket is in the namespace");
        drop(other);
        assert!(!step(6).await && step(5).await);
        transports.forget(sid.as_str());
        assert!(step(11).await, "it is closed again as long as it is there");
        drop(slot);
        assert!(!step(11).await, "nothing is kept for one that is gone");
    }
}
