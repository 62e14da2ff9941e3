//! Packets of one Socket.IO connection, as the gateway configures their decoder: lines, of which those that begin with `b` are binary.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketioxide_core::parser::{Parse, ParseConfig, ParserState};
use socketioxide_parser_common::CommonParser;

/// `MAX_MESSAGE_BYTES` and `MAX_ATTACHMENTS` of the gateway.
const MAX_BYTES: usize = 64 * 1024;
const MAX_ATTACHMENTS: usize = 256;

fuzz_target!(|text: &str| {
    let config = ParseConfig {
        max_incoming_binary_buf_size: MAX_BYTES,
        max_incoming_binaries: MAX_ATTACHMENTS,
        ..ParseConfig::default()
    };
    let state = ParserState::default();
    for line in text.split('\n') {
        let packet = match line.strip_prefix('b') {
            Some(bytes) => CommonParser.decode_bin(&config, &state, bytes.to_owned().into_bytes().into()),
            None => CommonParser.decode_str(&config, &state, line.to_owned().into()),
        };
        if let Ok(packet) = packet {
            CommonParser.encode(packet);
        }
    }
});
