//! The flows of sessions whose requests name them by their Engine.IO id: those that began with long polling.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use crate::flow::Flow;

/// The entries that are kept before those of sessions that are gone are removed.
const FEW: usize = 256;

/// Flows by Engine.IO id. A session that is gone is forgotten when the number of entries has doubled.
#[derive(Default)]
pub(super) struct Flows {
    flows: HashMap<Box<str>, Weak<Flow>>,
    prune_at: usize,
}

impl Flows {
    pub(super) fn insert(&mut self, session: &str, flow: Weak<Flow>) {
        if self.flows.len() >= self.prune_at {
            self.flows.retain(|_, flow| flow.strong_count() > 0);
            self.prune_at = FEW.max(2 * self.flows.len());
            self.flows.shrink_to(self.prune_at);
        }
        self.flows.insert(session.into(), flow);
    }

    pub(super) fn get(&self, session: &str) -> Option<Arc<Flow>> {
        self.flows.get(session).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::backlog::Backlog;

    #[test]
    fn sessions_that_are_gone_are_forgotten() {
        let (backlog, mut flows) = (Backlog::new(0), Flows::default());
        let kept: Vec<_> = (0..10).map(|_| Flow::new(&backlog)).collect();
        for (n, flow) in kept.iter().enumerate() {
            flows.insert(&format!("kept {n}"), Arc::downgrade(flow));
        }
        for n in 0..10 * FEW {
            flows.insert(&n.to_string(), Arc::downgrade(&Flow::new(&backlog)));
        }
        assert!(flows.flows.len() <= FEW + 1);
        assert!((0..10).all(|n| flows.get(&format!("kept {n}")).is_some()) && flows.get("0").is_none());
    }
}
