//! What a process has used, as the kernel counts it. Knows nothing of what the process does.

use std::io;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// The CPU time of all threads of a process, ended ones too. It is the counter behind `utime + stime` of `/proc/<pid>/stat`,
/// read in nanoseconds and not in ticks of 10 ms: time in which the process only waited for a busy machine is not in it.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
    Ok(ClockId::pid_cpu_clock_id(pid)?.now()?.into())
}

/// The memory of a process in KiB: its proportional set, so that the pages of shared libraries do not count twice.
pub(crate) fn memory_kib(pid: u32) -> io::Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    kib(&rollup, "Pss:").ok_or_else(|| io::Error::other("/proc/<pid>/smaps_rollup has no Pss"))
}

/// The load average of the last minute.
pub(crate) fn load_average() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

fn kib(rollup: &str, field: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_field_of_the_rollup() {
        let rollup = "0-1 ---p 0 0:0 0 [rollup]\nRss:      1788 kB\nPss:       568 kB\nPss_Dirty:  96 kB\n";
        assert_eq!(kib(rollup, "Pss:"), Some(568));
        assert_eq!(kib(rollup, "Swap:"), None);
    }

    #[test]
    fn own_cpu_grows_with_work() {
        let pid = std::process::id();
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        while cpu(pid).unwrap() < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(memory_kib(pid).unwrap() > 100);
    }
}
