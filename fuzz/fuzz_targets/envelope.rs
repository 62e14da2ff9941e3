//! A message of the bus and what its items carry: unreadable, or the same again once it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_protocol::{
    command::{Command, Outcome},
    envelope::Envelope,
};

fuzz_target!(|text: &str| {
    let Ok(envelope) = Envelope::read(text) else { return };
    let written = envelope.write().expect("what was read can be written");
    let again = Envelope::read(&written).expect("what was written can be read");
    assert_eq!(again.write().expect("it was written before"), written);
    for item in &envelope.items {
        if let Ok(command) = serde_json::from_str::<Command>(item.body.get()) {
            command.partition();
            command.name();
        }
        let _ = serde_json::from_str::<Outcome>(item.body.get());
    }
});
