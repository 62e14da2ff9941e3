//! How much memory the process may use: the limit of its cgroup.

use std::fs::read_to_string;

/// What is assumed where there is no limit.
const UNLIMITED_BYTES: usize = 1024 * 1024 * 1024;

/// The memory limit of the process' cgroup in bytes (version 2, else 1), or 1 GiB if it has none.
pub(crate) fn limit_bytes() -> usize {
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    files(&own).iter().filter_map(|file| limit(&read_to_string(file).ok()?)).min().unwrap_or(UNLIMITED_BYTES)
}

/// The files that may hold the limit, for a `/proc/self/cgroup`. In a container its own group is mounted as the root.
fn files(own: &str) -> Vec<String> {
    let mut files: Vec<String> =
        ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(str::to_owned).into();
    for line in own.lines() {
        match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "", path] => files.push(format!("/sys/fs/cgroup{path}/memory.max")),
            [_, controllers, path] if controllers.split(',').any(|one| one == "memory") => {
                files.push(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"));
            }
            _ => {}
        }
    }
    files
}

/// The limit in the text of such a file. Version 2 writes `max` for none, version 1 a number larger than any memory.
fn limit(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_both_versions_are_read() {
        assert_eq!(["1073741824\n", "max\n", "9223372036854771712\n"].map(limit), [Some(1 << 30), None, None]);
        assert_eq!(files("0::/a/b\n")[2..], ["/sys/fs/cgroup/a/b/memory.max"]);
        let first = "5:cpu,cpuacct:/x\n4:memory:/y\n";
        assert_eq!(files(first)[2..], ["/sys/fs/cgroup/memory/y/memory.limit_in_bytes"]);
        assert!(limit_bytes() > 0);
    }
}
