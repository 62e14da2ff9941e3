//! WebSocket frames, as much as a load generator needs: whole text frames in both directions, no extensions.
//!
//! Written by hand because the load side shares the machine with what it measures: frames are read in place, several from
//! one read, without a copy or an allocation. It must not know what the texts mean.

use std::io;
use std::ops::Range;

/// The opening request; the key may be any, since the answer's is not checked against it.
pub(crate) fn handshake(host: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cm9sbGNhbGwtYmVuY2gtMQ==\r\n\r\n"
    )
}

/// No longer message is expected; a longer one is a broken stream.
const MAX_LENGTH: u64 = 64 << 20;

/// A complete frame at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What kind it is.
    pub(crate) kind: Kind,
    /// Where its payload lies.
    pub(crate) payload: Range<usize>,
}

/// The kinds of frames that a server may send here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Close,
    /// Ping and pong of WebSocket itself, which Socket.IO does not use.
    Control,
}

/// Appends `text` as one masked text frame. The mask is zero, so that masking costs the load side nothing.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(0x81);
    match u16::try_from(text.len()) {
        Ok(length @ ..126) => out.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// Finds the frame at the start of `bytes`: none as long as it is not complete.
pub(crate) fn read(bytes: &[u8]) -> io::Result<Option<Frame>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err(io::Error::other("a server's frame was masked"));
    }
    let (length, header) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    let kind = match first {
        0x81 => Kind::Text,
        0x88 => Kind::Close,
        0x89 | 0x8a => Kind::Control,
        other => return Err(io::Error::other(format!("a frame of an unexpected kind {other:#x}"))),
    };
    if length > MAX_LENGTH {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let end = header + usize::try_from(length).unwrap_or(usize::MAX);
    Ok((bytes.len() >= end).then_some(Frame { kind, payload: header..end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server would send: the client's frame without mask bit and mask.
    fn from_server(text: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_text(&mut frame, text);
        let mask_at = frame.len() - text.len() - 4;
        frame.drain(mask_at..mask_at + 4);
        frame[1] &= 0x7f;
        frame
    }

    #[test]
    fn reads_back_every_length_class() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let text = vec![b'x'; length];
            let bytes = from_server(&text);
            let frame = read(&bytes).unwrap().unwrap();
            assert_eq!((frame.kind, &bytes[frame.payload]), (Kind::Text, &text[..]), "length {length}");
        }
    }

    #[test]
    fn waits_for_the_last_byte_and_leaves_the_next_frame_alone() {
        let mut bytes = from_server(b"42[]");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]).unwrap(), None);
        }
        bytes.extend_from_slice(&from_server(b"next"));
        assert_eq!(read(&bytes).unwrap().unwrap().payload, 2..6);
    }

    #[test]
    fn refuses_what_no_server_sends() {
        assert!(read(&[0x81, 0x81, 0, 0, 0, 0, b'x']).is_err(), "masked");
        assert!(read(&[0x01, 0x01, b'x']).is_err(), "fragmented");
        assert!(read(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]).is_err(), "endless");
    }
}
