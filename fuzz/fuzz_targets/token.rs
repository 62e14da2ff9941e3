//! A token's header and payload, each on a line, read as if the signature were right.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (header, payload) = text.split_once('\n').unwrap_or((text, ""));
    rollcall_gateway::fuzzing::token(header, payload);
});
