//! The settings: what clients may cost.

use rollcall_service::Reader;

use super::{Limits, memory, rate::Quota};

/// The highest rate that a bucket can count in nanoseconds.
const MOST_PER_S: u64 = 1_000_000_000;
/// One message may be this large: the answer of a join.
const LEAST_OUTWARD_BYTES: usize = 8 * 1024 * 1024;

/// What clients may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    /// `socket_events_per_s`, `socket_bytes_per_s`
    pub(crate) socket: Limits,
    /// `channel_writes_per_s`
    pub(crate) channel_writes: Quota,
    /// `outward_bytes`
    pub(crate) outward_bytes: usize,
}

impl Budgets {
    /// Reads the settings; the reader collects the problems.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let mut quota = |key, burst| Quota::new(reader.within(key, 0..=MOST_PER_S), burst);
        let socket = Limits { events: quota("socket_events_per_s", 4), bytes: quota("socket_bytes_per_s", 2) };
        let channel_writes = quota("channel_writes_per_s", 2);
        let outward_bytes =
            reader.parse("outward_bytes", outward_bytes, "must be auto or a number of bytes from 8388608 on");
        Some(Self { socket, channel_writes, outward_bytes: outward_bytes? })
    }
}

/// `auto` is a quarter of the memory that the process may use.
fn outward_bytes(text: &str) -> Result<usize, ()> {
    match text {
        "auto" => Ok(memory::limit_bytes() / 4),
        _ => text.parse().ok().filter(|bytes| *bytes >= LEAST_OUTWARD_BYTES).ok_or(()),
    }
}

#[cfg(test)]
mod tests {
    use super::outward_bytes;

    #[test]
    fn outward_bytes_are_a_number_or_a_quarter_of_the_memory() {
        assert_eq!(outward_bytes("8388608"), Ok(8 << 20));
        assert!(["8388607", "1g", ""].map(outward_bytes).iter().all(Result::is_err));
        assert!(outward_bytes("auto").is_ok_and(|bytes| bytes > 0));
    }
}
