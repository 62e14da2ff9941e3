//! What the property test has found, each as the shortest story that shows it.
//!
//! - `events`: what arrives late or twice. `recovery`: what Redis lost. `repair`: a snapshot is fetched. `reader`: a member that reads
//!   slowly.

mod events;
mod reader;
mod recovery;
mod repair;

use super::world::World;

impl World {
    pub(super) fn hears_everything(&mut self) {
        while !self.wire.is_empty() {
            self.deliver();
        }
    }

    /// `conn` joins here and is answered, and its event arrives.
    pub(super) fn joins_here(&mut self, conn: &str) {
        self.join(conn, conn, true);
        self.answer(self.answers.len() - 1);
        self.hears_everything();
    }

    fn log(&self, conn: &str) -> Vec<String> {
        let received = self.clients[conn].received();
        assert_eq!(received.complaints, Vec::<String>::new());
        received.log.clone()
    }

    /// How many leaves `conn` received of connections whose ids begin like this.
    pub(super) fn leaves(&self, conn: &str, of: &str) -> usize {
        let start = format!("leave {of}");
        self.log(conn).iter().filter(|event| event.starts_with(&start)).count()
    }

    /// A snapshot is fetched and applied, whatever of it was under way.
    pub(super) fn repaired(&mut self) {
        while self.room.is_repairing() {
            self.step();
        }
    }
}
