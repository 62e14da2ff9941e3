//! The answers on their way out. What may wait is bounded in bytes: a command is carried out when there is space for its answer.
//!
//! - `space`: the bound. Answers for one inbox collect while a message to it is being sent, and the next message carries them.
//! - `sizes`: the sizes of the rooms that were listed last, which say how much space to take.

mod sizes;
mod space;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use rollcall_bus::{Body, Bus, Reply};
use rollcall_protocol::command::Outcome;
use rollcall_service::Spawner;
use rollcall_telemetry::metrics::{self, Refusal};

pub(crate) use self::space::{Space, Spaces};
use crate::{open::Open, store::is_of_memory};

/// Answers are handed to the bus in portions of about this size, and make space when they are sent.
const PORTION_BYTES: usize = 512 * 1024;

/// An answer: the inbox that it goes to, the ids of the requests, the outcome.
pub(crate) struct Addressed {
    pub(crate) reply_to: Arc<str>,
    pub(crate) ids: Vec<u64>,
    pub(crate) outcome: Arc<Outcome>,
    /// The commands that it answers.
    pub(crate) open: Vec<Arc<Open>>,
}

impl Addressed {
    /// Whether it lists a room, so that its size is the room's. Others, such as `Unchanged` and faults, say nothing about that.
    pub(crate) fn lists_room(&self) -> bool {
        matches!(&*self.outcome, Outcome::Joined(_) | Outcome::Snapshot(_))
    }
}

/// How many commands were refused because Redis has no memory for them. Commands share script calls, and a refused call of metadata is
/// repeated for what needs no memory, so calls are no measure.
pub(crate) fn refused_for_memory(answers: &[Addressed]) -> u64 {
    let is_refused = |answer: &&Addressed| matches!(&*answer.outcome, Outcome::Fault(fault) if is_of_memory(fault));
    let refused = answers.iter().filter(is_refused).flat_map(|answer| &answer.ids);
    // 0 stands for the command of another sender.
    refused.filter(|id| **id != 0).count() as u64
}

/// Takes the answers of a batch.
pub(crate) trait Outlet: Sync {
    /// The bound of what may wait.
    fn spaces(&self) -> &Spaces;
    /// Sends answers, and keeps their space until they are sent. Returns the bytes of the largest outcome, even if it was too large to
    /// be sent.
    fn send(&self, answers: Vec<Addressed>, space: Space) -> usize;
}

/// Sends answers over the bus.
pub(crate) struct Answers {
    bus: Arc<Bus>,
    spaces: Spaces,
    tasks: Spawner,
    /// What waits, for each inbox to which a message is being sent.
    inboxes: Mutex<HashMap<Arc<str>, VecDeque<Waiting>>>,
}

struct Waiting {
    reply: Reply,
    /// Shared by the answers that were sent together.
    held: Arc<Held>,
}

struct Held {
    _space: Space,
    _open: Vec<Arc<Open>>,
}

impl Answers {
    pub(crate) fn new(bus: Arc<Bus>, tasks: Spawner) -> Arc<Self> {
        Arc::new(Self { bus, spaces: Spaces::default(), tasks, inboxes: Mutex::default() })
    }

    /// Sends what waits for an inbox, until nothing does.
    async fn empty(self: Arc<Self>, inbox: Arc<str>) {
        while let Some(portion) = self.next(&inbox) {
            let (replies, held): (Vec<_>, Vec<_>) = portion.into_iter().map(|one| (one.reply, one.held)).unzip();
            self.bus.reply(&inbox, &replies).await;
            drop(held);
        }
    }

    /// The next portion for an inbox; `None`, and the inbox is forgotten, if nothing waits.
    fn next(&self, inbox: &Arc<str>) -> Option<Vec<Waiting>> {
        let mut inboxes = self.inboxes.lock();
        let waiting = inboxes.get_mut(inbox).filter(|waiting| !waiting.is_empty());
        let Some(waiting) = waiting else {
            inboxes.remove(inbox);
            return None;
        };
        let mut bytes = 0;
        let fits = waiting.iter().take_while(|one| {
            let is_first = bytes == 0;
            bytes += one.reply.body.bytes();
            is_first || bytes <= PORTION_BYTES
        });
        let fits = fits.count();
        Some(waiting.drain(..fits).collect())
    }
}

impl Outlet for Arc<Answers> {
    fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    fn send(&self, answers: Vec<Addressed>, mut space: Space) -> usize {
        let refused = refused_for_memory(&answers);
        if refused > 0 {
            metrics::refused_times(Refusal::StoreMemory, refused);
        }
        let (mut replies, mut open, mut bytes, mut largest) = (Vec::with_capacity(answers.len()), Vec::new(), 0, 0);
        let mut last: Option<(Arc<Outcome>, Body)> = None;
        for mut answer in answers {
            open.append(&mut answer.open);
            // Answers that share an outcome stand next to each other.
            let body = match &last {
                Some((outcome, body)) if Arc::ptr_eq(outcome, &answer.outcome) => Some(body.clone()),
                _ => Body::of(&answer.outcome),
            };
            let Some(body) = body else { continue };
            last = Some((answer.outcome, body.clone()));
            bytes += body.bytes();
            largest = largest.max(body.outcome_bytes());
            replies.push((answer.reply_to, Reply { ids: answer.ids, body }));
        }
        space.fit(bytes);
        let held = Arc::new(Held { _space: space, _open: open });
        for (inbox, reply) in replies {
            let waiting = Waiting { reply, held: Arc::clone(&held) };
            let mut inboxes = self.inboxes.lock();
            if let Some(others) = inboxes.get_mut(&inbox) {
                others.push_back(waiting);
            } else {
                inboxes.insert(Arc::clone(&inbox), VecDeque::from([waiting]));
                drop(inboxes);
                self.tasks.spawn("answers", Arc::clone(self).empty(inbox));
            }
        }
        largest
    }
}
