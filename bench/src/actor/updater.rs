//! A member of a room that updates one key of the room's channel, which it alone writes.

use std::io;

use super::{Role, pass_over};
use crate::client::Client;
use crate::client::scan::Needle;

static OK: Needle = Needle::new(r#""ok":true"#);
static MAJOR: Needle = Needle::new(r#""majorRevision":"#);

/// Updates its key with every request.
#[derive(Debug)]
pub(crate) struct Updater {
    room: String,
    key: usize,
    value: u64,
    /// The channel's revision after the last update.
    major: u64,
    payload: String,
}

impl Updater {
    /// Writes the key with this number in the channel of `room`, which has to exist.
    pub(crate) fn new(room: &str, key: usize) -> Self {
        Self { room: room.to_owned(), key, value: 0, major: 0, payload: String::new() }
    }

    /// Creates the channel of `room` with the first `keys` keys.
    pub(crate) async fn create(client: &mut Client, room: &str, keys: usize) -> io::Result<()> {
        let items = (0..keys).map(|key| item(key, 0)).collect::<Vec<_>>();
        let answer = client.call("metadata:setChannel", &payload(room, &items.join(","))).await?;
        if OK.is_in(&answer) {
            return Ok(());
        }
        Err(io::Error::other(format!("a channel's creation answered {}", String::from_utf8_lossy(&answer))))
    }
}

impl Role for Updater {
    fn request(&mut self) -> (&'static str, &str) {
        self.value += 1;
        self.payload = payload(&self.room, &item(self.key, self.value));
        ("metadata:updateChannel", &self.payload)
    }

    /// A revision that does not grow is an update that was not made.
    fn answer(&mut self, body: &[u8]) -> Result<(), String> {
        match MAJOR.number_after(body).filter(|major| OK.is_in(body) && *major > self.major) {
            Some(major) => {
                self.major = major;
                Ok(())
            }
            None => Err(format!("an update after revision {} answered {}", self.major, String::from_utf8_lossy(body))),
        }
    }

    fn event(&mut self, name: &[u8], _body: &[u8]) -> Result<(), String> {
        pass_over(name)
    }

    fn conclusion(&self) -> Result<(), String> {
        Ok(())
    }
}

fn payload(room: &str, items: &str) -> String {
    format!(r#"{{"channelName":"{room}","channelType":"bench","data":[{items}]}}"#)
}

fn item(key: usize, value: u64) -> String {
    format!(r#"{{"key":"k{key}","value":{value}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_update_is_a_new_revision() {
        let mut updater = Updater::new("lobby", 1);
        let expected = r#"{"channelName":"lobby","channelType":"bench","data":[{"key":"k1","value":1}]}"#;
        assert_eq!(updater.request(), ("metadata:updateChannel", expected));
        assert_eq!(updater.answer(br#"{"ok":true,"majorRevision":7}"#), Ok(()));
        assert!(updater.answer(br#"{"ok":true,"majorRevision":7}"#).is_err());
        assert!(updater.answer(br#"{"ok":false,"error":"No.","code":"METADATA_INVALID"}"#).is_err());
    }
}
