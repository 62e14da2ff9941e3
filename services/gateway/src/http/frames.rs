//! What a client sends over its WebSocket: whether it has begun a message and not finished it, and what of it is not an event. It reads
//! the heads of frames (RFC 6455, 5.2) and the first characters of texts, nothing else.

/// `45255-`: an event with binary attachments, and how many.
const START: usize = 6;
/// Two bytes, the length in eight more, and the mask.
const HEAD: usize = 14;

/// A frame that is not an event counts once more for so many bytes.
const UNIT_BYTES: u64 = 1024;
/// The opcode of a ping, which is answered with its payload.
const PING: u8 = 9;
/// The head of the server's short frames.
const PONG_HEAD: u64 = 2;

/// What one read brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brought {
    /// Whether a message was finished.
    pub(super) has_finished: bool,
    /// How much of it is not an event.
    pub(super) others: usize,
    /// The bytes of the answers to pings.
    pub(super) pongs: usize,
}

/// What was read of a client's frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of the next frame, as far as it was read.
    head: [u8; HEAD],
    head_bytes: u8,
    /// The size of the frame's payload, and what is left of it.
    size: u64,
    left: u64,
    /// The first characters of the text, and how many of them were read.
    start: [u8; START],
    start_bytes: u8,
    /// How many of them this frame had.
    frame_bytes: u8,
    message: Message,
    /// The attachments that an event announced and that have not come.
    attachments: u16,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Message {
    #[default]
    None,
    /// More frames follow.
    Open(Kind),
    /// This frame is the last one.
    Closing(Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Frames {
    /// Reads what the client sent next.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Brought {
        let mut brought = Brought::default();
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = self.left.min(bytes.len() as u64) as usize;
                self.payload(&bytes[..count]);
                bytes = &bytes[count..];
            } else {
                self.head[usize::from(self.head_bytes)] = *first;
                self.head_bytes += 1;
                bytes = rest;
                if usize::from(self.head_bytes) < self.head_size() {
                    continue;
                }
                self.begin();
            }
            if self.left == 0 {
                self.end(&mut brought);
            }
        }
        brought
    }

    /// Whether more has to come.
    pub(super) fn is_unfinished(&self) -> bool {
        self.head_bytes > 0 || self.left > 0 || self.message != Message::None || self.attachments > 0
    }

    /// The size of the head, as far as it is known.
    fn head_size(&self) -> usize {
        if self.head_bytes < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin(&mut self) {
        let mut long = [0; 8];
        self.left = match self.head[1] & 0x7f {
            126 => u16::from_be_bytes([self.head[2], self.head[3]]).into(),
            127 => {
                long.copy_from_slice(&self.head[2..10]);
                u64::from_be_bytes(long)
            }
            short => short.into(),
        };
        self.size = self.left;
        let kind = match (self.head[0] & 0x0f, self.message) {
            (0, Message::Open(kind)) => kind,
            (1, _) => Kind::Text,
            (2, _) => Kind::Binary,
            // A control frame, which may come within a message; or one that ends the connection.
            _ => return,
        };
        if self.message == Message::None {
            self.start_bytes = 0;
        }
        self.frame_bytes = 0;
        self.message = if self.head[0] & 0x80 == 0 { Message::Open(kind) } else { Message::Closing(kind) };
    }

    fn payload(&mut self, bytes: &[u8]) {
        self.left -= bytes.len() as u64;
        if self.head[0] & 0x0f >= 8 {
            return;
        }
        let masked = self.head[1] & 0x80 != 0;
        let mask_at = self.head_size() - if masked { 4 } else { 0 };
        for byte in bytes {
            let Some(place) = self.start.get_mut(usize::from(self.start_bytes)) else { break };
            let mask = if masked { self.head[mask_at + usize::from(self.frame_bytes) % 4] } else { 0 };
            *place = byte ^ mask;
            self.start_bytes += 1;
            self.frame_bytes += 1;
        }
    }

    /// A frame ended.
    fn end(&mut self, brought: &mut Brought) {
        self.head_bytes = 0;
        let opcode = self.head[0] & 0x0f;
        let start = &self.start[..usize::from(self.start_bytes)];
        let is_message = opcode < 8;
        // The client library does not cut its messages: each further frame counts.
        let is_event = match self.message {
            Message::Open(_) | Message::Closing(_) if !is_message || opcode == 0 => false,
            Message::Open(Kind::Text) | Message::Closing(Kind::Text) => is_event(start),
            _ => is_message && self.attachments > 0,
        };
        if !is_event {
            brought.others += 1 + (self.size / UNIT_BYTES) as usize;
        }
        if opcode == PING {
            brought.pongs += (PONG_HEAD + self.size) as usize;
        }
        let Message::Closing(kind) = self.message else { return };
        self.message = Message::None;
        match kind {
            Kind::Binary => self.attachments = self.attachments.saturating_sub(1),
            Kind::Text => self.attachments = announced(start).unwrap_or(self.attachments),
        }
        brought.has_finished = true;
    }
}

/// Whether a text is an event, with attachments or without, as far as its start says. Events have a rate of their own.
fn is_event(start: &[u8]) -> bool {
    start.starts_with(b"42") || start.starts_with(b"45")
}

/// The number of attachments that a text announces, if it is the head of an event or an acknowledgement with attachments.
fn announced(start: &[u8]) -> Option<u16> {
    let count = start.strip_prefix(b"45").or_else(|| start.strip_prefix(b"46"))?;
    let digits = count.split(|byte| *byte == b'-').next().unwrap_or_default();
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: u8 = 0x81;
    const BINARY: u8 = 0x82;

    /// A masked frame with this first byte.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 99, 200, 1];
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            length @ ..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn a_message_is_unfinished_until_its_last_byte() {
        for size in [0, 5, 125, 126, 65_535, 65_536] {
            let (bytes, mut frames) = (frame(TEXT, &vec![b'x'; size]), Frames::default());
            assert!(!frames.is_unfinished());
            assert!(!frames.read(&bytes[..bytes.len() - 1]).has_finished && frames.is_unfinished(), "{size}");
            assert!(frames.read(&bytes[bytes.len() - 1..]).has_finished && !frames.is_unfinished(), "{size}");
        }
    }

    #[test]
    fn a_message_of_several_frames_is_unfinished_until_the_last_one_whatever_comes_between() {
        let mut frames = Frames::default();
        assert!(!frames.read(&frame(0x01, b"42[")).has_finished && frames.is_unfinished());
        assert!(!frames.read(&frame(0x8a, b"pong")).has_finished && frames.is_unfinished());
        assert!(!frames.read(&frame(0x00, b"\"x\"")).has_finished && frames.is_unfinished());
        assert!(frames.read(&frame(0x80, b"]")).has_finished && !frames.is_unfinished());
        assert!(!frames.read(&frame(0x89, b"")).has_finished && !frames.is_unfinished(), "a ping is no message");
    }

    #[test]
    fn an_event_is_unfinished_until_its_last_attachment() {
        let mut frames = Frames::default();
        assert!(
            frames.read(&frame(TEXT, b"452-[\"x\",{\"_placeholder\":true}]")).has_finished && frames.is_unfinished()
        );
        assert!(frames.read(&frame(TEXT, b"3")).has_finished && frames.is_unfinished(), "with a pong between");
        assert!(frames.read(&frame(BINARY, b"one")).has_finished && frames.is_unfinished());
        assert!(frames.read(&frame(BINARY, b"two")).has_finished && !frames.is_unfinished());
        frames.read(&frame(0x01, b"4"));
        frames.read(&frame(0x00, b"5"));
        assert!(frames.read(&frame(0x80, b"1-[]")).has_finished && frames.is_unfinished(), "in pieces");
        assert_eq!(
            [&b"45256-"[..], b"461-", b"42[4", b"45-", b"4"].map(announced),
            [Some(256), Some(1), None, None, None]
        );
    }

    #[test]
    fn what_is_no_event_counts_and_pings_are_answered() {
        let read = |parts: &[Vec<u8>]| {
            let Brought { others, pongs, .. } = Frames::default().read(&parts.concat());
            (others, pongs)
        };
        assert_eq!(read(&[frame(TEXT, b"42[\"x\"]"), frame(TEXT, b"421[\"x\"]")]), (0, 0), "events");
        assert_eq!(read(&[frame(TEXT, b"451-[\"x\"]"), frame(BINARY, b"one")]), (0, 0), "with attachments");
        assert_eq!(read(&[frame(TEXT, b"3"), frame(TEXT, b"41"), frame(TEXT, b"40"), frame(TEXT, b"")]), (4, 0));
        assert_eq!(read(&[frame(BINARY, b"x")]), (1, 0));
        assert_eq!(read(&[frame(0x89, &[0; 100]), frame(0x89, b"")]), (2, 104), "pings");
        assert_eq!(read(&[frame(0x8a, b"pong")]), (1, 0));
        assert_eq!(read(&[frame(TEXT, &[b'3'; 60 * 1024])]), (61, 0), "by its size");
        assert_eq!(read(&[frame(0x01, b"42["), frame(0x00, b""), frame(0x00, b"")]), (2, 0), "pieces");
    }

    proptest! {
        #[test]
        fn where_reads_cut_does_not_matter(sizes in prop::collection::vec(0..300_usize, 1..6), cut in 1..50_usize, tail in 1..5_usize) {
            let whole: Vec<u8> = sizes.iter().flat_map(|size| frame(TEXT, &vec![b'4'; *size])).collect();
            let mut frames = Frames::default();
            whole.chunks(cut).for_each(|chunk| {
                frames.read(chunk);
            });
            prop_assert!(!frames.is_unfinished());
            frames.read(&whole[..tail]);
            prop_assert!(frames.is_unfinished());
        }

        #[test]
        fn it_reads_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::default();
            bytes.chunks(7).for_each(|chunk| {
                frames.read(chunk);
            });
            frames.is_unfinished();
        }
    }
}
