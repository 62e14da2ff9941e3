//! A set of keys, as JWK or PEM, from a file or a URL.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rollcall_gateway::fuzzing::keys(text));
