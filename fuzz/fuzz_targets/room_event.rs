//! What a gateway hears on a room's channel: an event of a member, of a channel or of a lock, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_protocol::event::{RoomEvent, lock::LockEvent, metadata::MetadataEvent};

fuzz_target!(|text: &str| {
    let (lock, metadata) = (LockEvent::read(text), MetadataEvent::read(text));
    assert!(lock.is_none() || LockEvent::is(text));
    assert!(metadata.is_none() || MetadataEvent::is(text));
    let kinds = [lock.is_some(), metadata.is_some(), RoomEvent::read(text).is_some()];
    assert!(kinds.iter().filter(|is| **is).count() <= 1, "an event of two kinds");
});
