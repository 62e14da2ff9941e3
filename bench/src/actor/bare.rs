//! The client of the echo server: an echo, and every so often a broadcast of an event as long as a presence event.

use super::Role;

/// As long as a heartbeat with the epoch, so that both servers read the same number of bytes.
const PAYLOAD: &str = r#"{"epoch":1764000000000}"#;

/// About the length of a presence event.
const EVENT: &str = concat!(
    r#"{"type":"update","roomId":"fan-out","userId":"user-42","connId":"AA9AJAgfWjPdKOQt","state":{"status":"online","n":1234},"#,
    r#""ts":1764000000000,"epoch":1764000000000,"seq":1234,"gen":1764000000000000}"#
);

/// Echoes, with a broadcast as every n-th request.
#[derive(Debug)]
pub(crate) struct Bare {
    broadcast_every: u64,
    turn: u64,
}

impl Bare {
    /// Only echoes.
    pub(crate) fn echo() -> Self {
        Self { broadcast_every: u64::MAX, turn: 1 }
    }

    /// Every `every`-th request is a broadcast; `turn` spreads the clients over the cycle.
    pub(crate) fn broadcast(every: u64, turn: u64) -> Self {
        Self { broadcast_every: every, turn }
    }

    fn broadcasts(&self) -> bool {
        self.turn.is_multiple_of(self.broadcast_every)
    }
}

impl Role for Bare {
    fn request(&mut self) -> (&'static str, &str) {
        self.turn += 1;
        if self.broadcasts() { ("broadcast", EVENT) } else { ("echo", PAYLOAD) }
    }

    fn answer(&mut self, body: &[u8]) -> Result<(), String> {
        let expected = if self.broadcasts() { "true" } else { PAYLOAD };
        if body == expected.as_bytes() {
            return Ok(());
        }
        Err(format!("an echo answered {}", String::from_utf8_lossy(body)))
    }

    fn event(&mut self, name: &[u8], body: &[u8]) -> Result<(), String> {
        if name == b"event" && body.len() == EVENT.len() {
            return Ok(());
        }
        Err(format!("a broadcast brought {}", String::from_utf8_lossy(body)))
    }

    fn conclusion(&self) -> Result<(), String> {
        Ok(())
    }
}
