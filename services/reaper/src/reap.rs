//! One partition's work, step by step. Each step is a command to presence-state, which ends what it can in one script.

use std::sync::Arc;

use rollcall_bus::{Bus, View};
use rollcall_protocol::{
    Code, InstanceId, Partition,
    command::{Command, Outcome, Reap},
};
use rollcall_telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{look::Seen, sweep::Sweeper};

/// Steps per gateway, partition and cycle, 200 connections each. The rest is left to the next cycle.
const STEPS: usize = 512;

/// The work in a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Task {
    partition: Partition,
    /// The gateways that are gone, one by one, so that evictions are counted per gateway; or `None`, where something is due.
    gone: Vec<Option<InstanceId>>,
}

impl Task {
    /// The work for what was found; `None` if there is none.
    pub(crate) fn of(seen: Seen, view: &View) -> Option<Self> {
        let mut gone: Vec<_> = seen.gateways.into_iter().filter(|gateway| !view.is_alive(gateway)).map(Some).collect();
        if gone.is_empty() && seen.overdue_ms.is_some() {
            gone.push(None);
        }
        (!gone.is_empty()).then_some(Self { partition: seen.partition, gone })
    }
}

/// Does the work. A partition that presence-state cannot process does not stop the others.
///
/// # Errors
/// presence-state or Redis is unavailable or overloaded: the cycle ends.
pub(crate) async fn reap(sweeper: &Sweeper, bus: &Arc<Bus>, span: &Span, task: Task) -> Result<(), String> {
    for gone in &task.gone {
        let mut more = true;
        for _ in 0..STEPS {
            // The lease and the truce may have changed since the last step.
            let is_back = gone.as_ref().is_some_and(|gateway| bus.view().is_alive(gateway));
            if is_back || bus.truce().is_some() {
                break;
            }
            let command = Command::Reap(Reap { partition: task.partition, gone: gone.iter().cloned().collect() });
            let answer = match bus.call(&command, TraceContext::of(span)).await {
                Ok(answer) => answer,
                Err(fault) if fault.code == Code::Internal => {
                    sweeper.leave_for_next(gone.as_ref());
                    sweeper.record_broken(task.partition, &fault.message);
                    break;
                }
                Err(fault) => return Err(fault.to_string()),
            };
            let Outcome::Reaped { evicted, rooms, more: again } = *answer.outcome else { break };
            sweeper.record_healthy(task.partition);
            sweeper.evicted(gone.as_ref(), evicted, rooms);
            more = again;
            if !more {
                break;
            }
        }
        if more {
            sweeper.leave_for_next(gone.as_ref());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_for_gateways_that_are_gone_or_for_what_is_due() {
        let [alive, gone]: [InstanceId; 2] = ["presence-gateway-0000000a".into(), "presence-gateway-0000000b".into()];
        let view = View::of([alive.clone()]);
        let task = |gateways: &[&InstanceId], overdue_ms| {
            let gateways = gateways.iter().map(|gateway| (*gateway).clone()).collect();
            let first = Partition::all().next()?;
            Task::of(Seen { partition: first, gateways, overdue_ms, rooms: 1, error: None }, &view)
        };
        assert_eq!(task(&[&alive], None), None);
        assert_eq!(task(&[&alive], Some(7)).unwrap().gone, [None]);
        assert_eq!(task(&[&alive, &gone], Some(7)).unwrap().gone, [Some(gone.clone())], "which ends what is due too");
    }
}
