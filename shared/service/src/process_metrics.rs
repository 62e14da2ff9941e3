//! Metrics of the process and its runtime: CPU, memory, open files, the workers' load, and scheduling lag.

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeVal,
};
use rollcall_telemetry::metrics::{self, Reading, observe};
use tokio::{
    runtime::{Handle, RuntimeMetrics},
    time::{Instant as Moment, sleep_until},
};

use crate::Tasks;

/// How often scheduling lag is measured.
const LAG_PERIOD: Duration = Duration::from_millis(250);

/// Registers the metrics of the process and of the runtime that this is called on. `tasks` owns the task that measures lag.
pub(crate) fn register(tasks: &Tasks) {
    let began = Instant::now();
    observe(Reading::Uptime, move || Some(began.elapsed().as_secs_f64()));
    observe(Reading::CpuTime("user"), || Some(seconds(getrusage(UsageWho::RUSAGE_SELF).ok()?.user_time())));
    observe(Reading::CpuTime("system"), || Some(seconds(getrusage(UsageWho::RUSAGE_SELF).ok()?.system_time())));
    observe(Reading::MemoryUsage, || resident_bytes(&fs::read_to_string("/proc/self/status").ok()?));
    // Less one: the descriptor of the folder that is being read.
    observe(Reading::OpenFiles, || Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64));
    observe(Reading::OpenFilesLimit, || Some(getrlimit(Resource::RLIMIT_NOFILE).ok()?.0 as f64));

    let runtime = Handle::current().metrics();
    let seen = runtime.clone();
    observe(Reading::QueueDepth, move || Some(seen.global_queue_depth() as f64));
    let seen = runtime.clone();
    observe(Reading::TasksAlive, move || Some(seen.num_alive_tasks() as f64));
    let last = Mutex::new((Instant::now(), busy(&runtime)));
    observe(Reading::BusyRatio, move || {
        let now = (Instant::now(), busy(&runtime));
        let (at, busy) = std::mem::replace(&mut *last.lock().ok()?, now);
        let possible = now.0.duration_since(at).as_secs_f64() * runtime.num_workers() as f64;
        (possible > 0.0).then(|| ((now.1 - busy).as_secs_f64() / possible).min(1.0))
    });
    tasks.spawn_permanent("scheduling lag", measure_lag());
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// `VmRSS`, which only Linux has; without it there is no metric.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

fn busy(runtime: &RuntimeMetrics) -> Duration {
    (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum()
}

/// Measures how late tasks run, forever.
async fn measure_lag() {
    let mut next = Moment::now();
    loop {
        next += LAG_PERIOD;
        sleep_until(next).await;
        let now = Moment::now();
        metrics::scheduling_lag(now.duration_since(next));
        // After a pause of the process, the measurements that were missed are not made up for.
        next = next.max(now - LAG_PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_proc_status() {
        let status = "Name:\tpresence-state\nVmHWM:\t   20000 kB\nVmRSS:\t   10240 kB\nThreads:\t6\n";
        assert_eq!(resident_bytes(status), Some(10_485_760.0));
        assert_eq!(resident_bytes("Name:\tpresence-state\n"), None);
    }
}
