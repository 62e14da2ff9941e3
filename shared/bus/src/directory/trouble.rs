//! Why Redis does not do what it is asked, in its own words; said once for each text.

use std::sync::Arc;

use fred::{error::ErrorKind, interfaces::EventInterface as _};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::link::Link;

/// Texts that are remembered as said. A fault that alternates between more of them is logged more often.
const TEXTS: usize = 8;

/// What went wrong since Redis last did what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    said: Mutex<Vec<String>>,
    last: Mutex<Option<String>>,
}

impl Trouble {
    /// Remembers what is wrong; answers whether it has not been said since all was well.
    pub(crate) fn set(&self, text: &str) -> bool {
        *self.last.lock() = Some(text.to_owned());
        let mut said = self.said.lock();
        if said.iter().any(|one| one == text) {
            return false;
        }
        if said.len() == TEXTS {
            said.remove(0);
        }
        said.push(text.to_owned());
        true
    }

    /// All is well; answers whether it was not before.
    pub(crate) fn clear(&self) -> bool {
        self.said.lock().clear();
        self.last.lock().take().is_some()
    }

    /// What is wrong.
    pub(crate) fn text(&self) -> Option<String> {
        self.last.lock().clone()
    }
}

/// Records why there is no connection for commands, in the words of the server that refused it; forever.
pub(crate) async fn follow_errors(link: Arc<Link>, trouble: Arc<Trouble>) {
    let mut errors = link.commands.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) if link.is_connected() || *error.kind() == ErrorKind::Canceled => {}
            Ok((error, _)) => {
                if trouble.set(error.details()) {
                    tracing::warn!(%error, "no connection to Redis; tried again until there is one");
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_said_once_until_all_is_well() {
        let trouble = Trouble::default();
        assert!(!trouble.clear());
        assert_eq!(["refused", "refused", "slow", "refused"].map(|text| trouble.set(text)), [true, false, true, false]);
        assert_eq!(trouble.text().as_deref(), Some("refused"));
        assert!(trouble.clear() && trouble.set("refused"));
    }
}
