//! The sending side: requests through one outbox per target, and replies.
//!
//! - `outbox`: the requests for one target, sent in batches. `replies`: answers, in messages of bounded size.

mod outbox;
mod replies;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use rollcall_protocol::InstanceId;
use rollcall_service::Tasks;
use tokio::sync::mpsc;

use self::outbox::{OUTBOX_CAPACITY, Outbox};
pub use self::replies::{Body, REPLY_LIMIT, Reply};
pub(crate) use self::{
    outbox::{Deliveries, Outgoing},
    replies::reply,
};
use crate::{
    directory::{Directory, Role},
    link::Link,
};

/// The outboxes of this instance.
pub(crate) struct Publisher {
    link: Arc<Link>,
    directory: Arc<Directory>,
    deliveries: Arc<dyn Deliveries>,
    /// Weak: the owner of the tasks must be able to end them.
    tasks: Weak<Tasks>,
    outboxes: Mutex<HashMap<InstanceId, mpsc::Sender<Outgoing>>>,
}

/// The outbox of the target is full.
#[derive(Debug)]
pub(crate) struct Full;

impl Publisher {
    pub(crate) fn new(
        link: Arc<Link>,
        directory: Arc<Directory>,
        deliveries: Arc<dyn Deliveries>,
        tasks: Weak<Tasks>,
    ) -> Self {
        Self { link, directory, deliveries, tasks, outboxes: Mutex::default() }
    }

    /// Puts a request into the outbox of its target.
    pub(crate) fn send(self: &Arc<Self>, target: &InstanceId, request: Outgoing) -> Result<(), Full> {
        self.outbox(target).try_send(request).map_err(|_| Full)
    }

    /// No one receives messages to this instance: removes it from the view and hands its requests back.
    pub(crate) fn target_gone(&self, target: &InstanceId) {
        tracing::warn!(instance = %target, "instance gone, its requests go to others");
        self.directory.mark_gone(target);
        self.outboxes.lock().remove(target);
        self.deliveries.gone(target);
    }

    fn outbox(self: &Arc<Self>, target: &InstanceId) -> mpsc::Sender<Outgoing> {
        let mut outboxes = self.outboxes.lock();
        if let Some(outbox) = outboxes.get(target) {
            return outbox.clone();
        }
        // Each new target cleans up those that left the directory; dropping an outbox ends its task.
        let view = self.directory.view();
        outboxes.retain(|instance, _| view.peers(Role::State).contains(instance));
        let (sender, waiting) = mpsc::channel(OUTBOX_CAPACITY);
        let outbox = Outbox::new(Arc::clone(&self.link), target, Arc::clone(&self.deliveries));
        // Weak: the outboxes end with their publisher.
        let publisher = Arc::downgrade(self);
        let gone = target.clone();
        let on_gone = move || {
            if let Some(publisher) = publisher.upgrade() {
                publisher.target_gone(&gone);
            }
        };
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn("bus outbox", outbox.run(waiting, on_gone));
        }
        outboxes.insert(target.clone(), sender.clone());
        sender
    }
}
