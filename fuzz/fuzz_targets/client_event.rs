//! What a client sends, `["event",{…}]`: refused by a sentence, or within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_protocol::{
    client::{RejectedEvent, Request, parse},
    limits::MAX_STATE_BYTES,
};

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(Request::Join { state, .. }) => assert!(state.get().len() <= MAX_STATE_BYTES),
        Ok(Request::Heartbeat { patch: Some(patch), .. }) => assert!(patch.get().len() <= MAX_STATE_BYTES),
        Ok(_) => {}
        Err(fault) => {
            assert!(!fault.message.is_empty());
            RejectedEvent::read(text);
        }
    }
});
