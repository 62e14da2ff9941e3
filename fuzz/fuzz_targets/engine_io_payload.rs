//! The body of a long-polling POST, whole and in two pieces: packets and errors, and always an end.
#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use engineioxide_core::{ProtocolVersion, payload};
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use libfuzzer_sys::fuzz_target;

/// `MAX_MESSAGE_BYTES` of the gateway.
const MAX_BYTES: u64 = 64 * 1024;

fuzz_target!(|body: &[u8]| {
    let middle = body.len() / 2;
    let pieces = [vec![body], vec![&body[..middle], &body[middle..]]];
    let [whole, split] = pieces.map(|pieces| packets(&pieces));
    assert_eq!(whole, split, "the same bytes in other pieces are other packets");
});

fn packets(pieces: &[&[u8]]) -> Vec<String> {
    // hyper hands over no empty piece, for which the decoder is not made (docs/internals/libraries.md: an empty piece of a body).
    let frames = pieces.iter().filter(|piece| !piece.is_empty());
    let frames: Vec<_> =
        frames.map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let packets = payload::decoder(StreamBody::new(stream::iter(frames)), None, ProtocolVersion::V4, MAX_BYTES);
    let mut packets = std::pin::pin!(packets);
    let mut seen = Vec::new();
    while let Some(packet) = block_on(packets.next()) {
        seen.push(packet.map_or_else(|error| format!("{error:?}"), |packet| format!("{packet:?}")));
        assert!(seen.len() <= body_len(pieces) + 1, "more packets than bytes");
    }
    seen
}

fn body_len(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}
