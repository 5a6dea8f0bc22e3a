//! Executions that are over here, so that a late or repeated question about one does not start it again.
//!
//! Messages are delivered at least once and may overtake each other. An ops or daemon execution is told to run with the
//! question itself, so a copy of that question that arrives after the execution ended would run it a second time, and
//! nobody would know of that run. A restart may forget: what was on its way to the old process never arrives.

use std::collections::{HashSet, VecDeque};

/// How many are remembered: minutes of the busiest node, about a megabyte.
const MOST: usize = 10_000;

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Over {
    order: VecDeque<String>,
    ids: HashSet<String>,
}

impl Over {
    /// The execution is over: ended and acknowledged, or cancelled.
    pub(super) fn insert(&mut self, id: &str) {
        if !self.ids.insert(id.to_owned()) {
            return;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// True for one that is over.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut over = Over::default();
        for n in 0..=MOST {
            over.insert(&format!("e-{n}"));
            over.insert("e-1");
        }
        assert!(!over.contains("e-0"));
        assert!(over.contains("e-1") && over.contains(&format!("e-{MOST}")));
        assert_eq!((over.order.len(), over.ids.len()), (MOST, MOST));
    }
}
