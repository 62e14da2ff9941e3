//! Requests: each goes to the instance that serves its key and waits for the reply. Failure is seen, not waited for: when no
//! one receives a message, its target is gone, and every request that waits for it goes to the next instance. That may repeat
//! one which the dead instance had carried out, which is harmless: see `protocol::command`. Instances that owe a reply are
//! probed now and then, for they may get no other message.
//!
//! A request has one deadline, from its caller to the script that carries it out, for all attempts together.

mod pending;

use std::{sync::Arc, time::Duration};

use protocol::{
    Code, Fault,
    command::{Command, Outcome},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tokio::time::{MissedTickBehavior, interval};

pub use self::pending::Answer;
pub(crate) use self::pending::Pending;
use self::pending::Verdict;
use crate::{
    clock::Deadline,
    directory::{Directory, Role},
    link::{CanReceive, Link},
    publisher::{Outgoing, Publisher},
};

/// How long a request may take, repeats included. Under two seconds, so that a client is answered within two.
pub const DEADLINE: Duration = Duration::from_millis(1_800);
/// How often those that owe replies are probed.
const PROBE_EVERY: Duration = Duration::from_millis(300);

/// See the module.
pub(crate) struct Requests {
    pub(crate) link: Arc<Link>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) can_receive: CanReceive,
}

impl Requests {
    /// Asks the presence-state instance that serves the command's partition.
    pub(crate) async fn call(&self, command: &Command, trace: &TraceContext) -> Result<Answer, Fault> {
        let body: Arc<RawValue> = serde_json::value::to_raw_value(command)
            .map_err(|_| Fault::new(Code::Internal, "the request could not be written"))?
            .into();
        let deadline = Deadline::after(DEADLINE);
        let key = command.partition().to_string();
        loop {
            let answer = self.attempt(&key, &body, trace, deadline).await?;
            match answer {
                Some(answer) => match &*answer.outcome {
                    Outcome::Fault(fault) => return Err(fault.clone()),
                    _ => return Ok(answer),
                },
                None if !deadline.has_passed() => {}
                None => return Err(Fault::unavailable()),
            }
        }
    }

    /// One try; `None` when its target turned out to be gone.
    async fn attempt(
        &self,
        key: &str,
        body: &Arc<RawValue>,
        trace: &TraceContext,
        deadline: Deadline,
    ) -> Result<Option<Answer>, Fault> {
        if !self.link.is_connected() {
            return Err(Fault::unavailable());
        }
        // Without a lease of its own an instance asks for nothing: what it had written would be that of one who is gone.
        let is_cut_off = || self.directory.is_silent() || self.directory.lease_age_ms().is_none();
        if is_cut_off() {
            // Asked once more, shortly. A request that waited its whole time in vain would keep all that its socket sends
            // after it waiting too.
            self.directory.look_again().await;
            if is_cut_off() {
                return Err(Fault::unavailable());
            }
        }
        let serving = || self.directory.view().serving(Role::State, key).cloned();
        let target = match serving() {
            Some(target) => target,
            None => {
                self.directory.look_again().await;
                serving().ok_or_else(Fault::unavailable)?
            }
        };
        let ticket = self.pending.open(target.clone());
        let mut ticket = ticket.ok_or_else(|| overloaded("too many requests are under way; slow down"))?;
        let outgoing = Outgoing { id: ticket.id, body: Arc::clone(body), trace: trace.clone(), deadline };
        let sent = self.publisher.send(&target, outgoing);
        sent.map_err(|_| overloaded("too many requests are waiting; slow down"))?;
        match ticket.verdict(deadline.at.into()).await {
            Some(Verdict::Answered(answer)) => Ok(Some(answer)),
            Some(Verdict::Gone) => Ok(None),
            Some(Verdict::Refused) => Err(Fault::unavailable()),
            // What went into a Redis that does not answer did not fail for want of time.
            None if ticket.was_published() && (self.can_receive)() && self.directory.check_redis().is_ok() => {
                Err(Fault::new(Code::Timeout, "no answer came in time; it may or may not have happened"))
            }
            None => Err(Fault::unavailable()),
        }
    }

    /// Probes those that owe replies, forever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for target in self.pending.targets() {
                if let Ok(0) = self.link.probe(&self.link.subjects.inbox(&target)).await {
                    self.publisher.target_gone(&target);
                }
            }
        }
    }
}

fn overloaded(why: &'static str) -> Fault {
    Fault::new(Code::Overloaded, why)
}
