//! The report of a soak against a running system. It is not a scenario: it starts no servers and compares with nothing.

use std::io;

use crate::load::measure::quantile_ms;
use crate::load::soak::{self, Plan};
use crate::report::{Report, Row};

pub(crate) async fn run(plan: &Plan) -> io::Result<Report> {
    let outcome = soak::run(plan).await?;
    let (seconds, answered) = (outcome.elapsed.as_secs_f64(), &outcome.latencies.answered);
    let of = match plan.patch_every {
        0 => "plain".to_owned(),
        every => format!("one of {every} a patch"),
    };
    Ok(Report {
        rows: vec![
            Row::new(
                format!("heartbeats of {} in rooms of {}, {of}", plan.connections, plan.room),
                outcome.answers as f64 / seconds,
                "/s",
            ),
            Row::new("— p50", quantile_ms(answered, 0.5), "ms"),
            Row::new("— p99", quantile_ms(answered, 0.99), "ms"),
            Row::new("— longest", quantile_ms(answered, 1.0), "ms"),
            Row::new("— p99 delay of the load generator itself", quantile_ms(&outcome.latencies.sent, 0.99), "ms"),
            Row::new("events received", outcome.events as f64 / seconds, "/s"),
            Row::new("everyone joined within", outcome.joined_in.as_secs_f64(), "s"),
        ],
        notes: vec![format!("{} resynchronisations", outcome.syncs)],
        faults: outcome.faults,
    })
}
