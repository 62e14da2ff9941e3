//! Requests: each is sent to the instance that serves its key, and waits for the reply. Failures are detected, not timed out:
//! when no one receives a message, its target is gone, and its pending requests go to the next instance. That may repeat a request
//! that the dead instance had carried out, which is harmless (see `rollcall_protocol::command`). Instances with replies outstanding are
//! probed, because they may get no other message.
//!
//! A request has one deadline for all attempts, from its caller to the script that carries it out.

mod pending;

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{
    Code, Fault,
    command::{Command, Outcome},
};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::RawValue;
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

/// How long a request may take, retries included. Below two seconds, so that a client is answered within two.
pub const DEADLINE: Duration = Duration::from_millis(1_800);
/// How often instances with replies outstanding are probed.
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

    /// One attempt; `None` if its target turned out to be gone.
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
        // An instance without a lease sends nothing: its records would belong to an instance that counts as gone.
        let is_cut_off = || self.directory.is_silent() || self.directory.lease_age_ms().is_none();
        if is_cut_off() {
            // One short retry. A request that used its full deadline in vain would also delay everything its socket sends
            // after it.
            self.directory.refresh().await;
            if is_cut_off() {
                return Err(Fault::unavailable());
            }
        }
        let serving = || self.directory.view().serving(Role::State, key).cloned();
        let target = match serving() {
            Some(target) => target,
            None => {
                self.directory.refresh().await;
                serving().ok_or_else(Fault::unavailable)?
            }
        };
        let ticket = self.pending.open(target.clone(), body.get().len());
        let mut ticket = ticket.ok_or_else(|| overloaded("too many requests are under way; slow down"))?;
        let outgoing = Outgoing { id: ticket.id, body: Arc::clone(body), trace: trace.clone(), deadline };
        let sent = self.publisher.send(&target, outgoing);
        sent.map_err(|_| overloaded("too many requests are waiting; slow down"))?;
        match ticket.verdict(deadline.at.into()).await {
            Some(Verdict::Answered(answer)) => Ok(Some(answer)),
            Some(Verdict::Gone) => Ok(None),
            Some(Verdict::Refused) => Err(Fault::unavailable()),
            // TIMEOUT only if Redis is healthy: otherwise the cause is Redis, and the answer is UNAVAILABLE.
            None if ticket.was_published() && (self.can_receive)() && self.directory.check_redis().is_ok() => {
                Err(Fault::new(Code::Timeout, "no answer came in time; it may or may not have happened"))
            }
            None => Err(Fault::unavailable()),
        }
    }

    /// Probes instances with replies outstanding, forever.
    pub(crate) async fn probe_targets(self: Arc<Self>) {
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
