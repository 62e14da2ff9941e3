//! Judges whether a member saw every event of its room: in order, without a gap, without a duplicate.
//!
//! The promise: within one `gen` the events that a socket receives are consecutive in `seq`; any gap and any change of `gen` ends
//! with a `presence:sync` that states everything. Events marked `resync` repeat what a gap hid and do not count.

use crate::client::scan::Needle;

static GENERATION: Needle = Needle::new(r#""gen":"#);
static SEQ: Needle = Needle::new(r#""seq":"#);
static RESYNC: Needle = Needle::new(r#""resync":true"#);

/// What a member knows of its room's sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    generation: u64,
    seq: u64,
    /// A gap that no `presence:sync` has closed yet.
    gap: Option<String>,
    syncs: u64,
}

impl Sequence {
    /// Starts at the answer to a join.
    pub(crate) fn start(answer: &[u8]) -> Result<Self, String> {
        let (generation, seq) = position(answer)?;
        Ok(Self { generation, seq, gap: None, syncs: 0 })
    }

    /// Takes a `presence:event`.
    pub(crate) fn event(&mut self, body: &[u8]) -> Result<(), String> {
        let (generation, seq) = position(body)?;
        if RESYNC.is_in(body) {
            self.gap.get_or_insert_with(|| format!("resynchronised after seq {}", self.seq));
            return Ok(());
        }
        if generation != self.generation || seq > self.seq + 1 {
            self.gap.get_or_insert_with(|| {
                format!("seq {seq} of gen {generation} after seq {} of gen {}", self.seq, self.generation)
            });
        } else if seq <= self.seq && self.gap.is_none() {
            return Err(format!("an event a second time: seq {seq} after {}", self.seq));
        }
        (self.generation, self.seq) = (generation, seq);
        Ok(())
    }

    /// Takes a `presence:sync`, which closes a gap.
    pub(crate) fn sync(&mut self, body: &[u8]) -> Result<(), String> {
        (self.generation, self.seq) = position(body)?;
        self.gap = None;
        self.syncs += 1;
        Ok(())
    }

    /// The last `seq`.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// How often the member had to be brought up to date with a snapshot.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    /// At the end, a gap that is still open is a broken promise.
    pub(crate) fn conclusion(&self) -> Result<(), String> {
        self.gap.as_ref().map_or(Ok(()), |gap| Err(format!("a gap without a presence:sync: {gap}")))
    }
}

fn position(body: &[u8]) -> Result<(u64, u64), String> {
    let generation = GENERATION.number_after(body);
    let seq = SEQ.number_after(body);
    generation
        .zip(seq)
        .ok_or_else(|| format!("no seq and gen in {}", String::from_utf8_lossy(&body[..body.len().min(200)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(generation: u64, seq: u64) -> Vec<u8> {
        format!(r#"{{"type":"update","seq":{seq},"gen":{generation}}}"#).into_bytes()
    }

    #[test]
    fn consecutive_events_are_right() {
        let mut sequence = Sequence::start(&body(1, 5)).unwrap();
        assert_eq!(sequence.event(&body(1, 6)), Ok(()));
        assert_eq!(sequence.event(&body(1, 7)), Ok(()));
        assert_eq!((sequence.seq(), sequence.conclusion()), (7, Ok(())));
    }

    #[test]
    fn a_duplicate_is_wrong() {
        let mut sequence = Sequence::start(&body(1, 5)).unwrap();
        assert!(sequence.event(&body(1, 5)).is_err());
    }

    #[test]
    fn a_gap_stays_open_until_a_sync() {
        let mut sequence = Sequence::start(&body(1, 5)).unwrap();
        sequence.event(&body(1, 8)).unwrap();
        assert!(sequence.conclusion().is_err());
        sequence.sync(&body(1, 9)).unwrap();
        assert_eq!((sequence.conclusion(), sequence.syncs()), (Ok(()), 1));
        assert_eq!(sequence.event(&body(1, 10)), Ok(()));
    }

    #[test]
    fn a_new_generation_needs_a_sync_too() {
        let mut sequence = Sequence::start(&body(1, 5)).unwrap();
        sequence.event(&body(2, 6)).unwrap();
        assert!(sequence.conclusion().is_err());
    }

    #[test]
    fn an_answer_without_a_position_is_refused() {
        assert!(Sequence::start(b"{}").is_err());
    }
}
