//! Things that are due at a time, as state that a restart rebuilds, never as a sleeping task.

use std::collections::{BTreeSet, HashMap};

/// What is due. A timer is a hint: its handler looks at the current state and decides what there is to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// Look at the job again: a queue, total, bid or execution timeout, or more to place.
    Job(String),
    /// Look at the node's connection.
    Node(String),
    /// Look at the jobs that wait.
    Waiting,
}

/// At most one due time for each thing, so that timers never outnumber jobs and nodes.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(i64, Due)>,
    of: HashMap<Due, i64>,
}

impl Timers {
    /// Asks for a look at `what` at `at` (nanoseconds since 1970), instead of any earlier request; `None` asks for none.
    pub(crate) fn set(&mut self, what: Due, at: Option<i64>) {
        let known = self.of.get(&what).copied();
        if known == at {
            return;
        }
        if let Some(old) = known {
            self.of.remove(&what);
            self.order.remove(&(old, what.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, what.clone()));
            self.of.insert(what, at);
        }
    }

    /// The earliest time anything is due.
    pub(crate) fn next(&self) -> Option<i64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one thing that is due.
    pub(crate) fn pop(&mut self, now: i64) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        let (_, what) = self.order.pop_first()?;
        self.of.remove(&what);
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pops_in_order_and_only_what_is_due() {
        let mut timers = Timers::default();
        timers.set(Due::Job("a".into()), Some(9));
        timers.set(Due::Node("b".into()), Some(3));
        timers.set(Due::Job("a".into()), Some(5));
        timers.set(Due::Job("c".into()), Some(4));
        timers.set(Due::Job("c".into()), None);
        assert_eq!(timers.next(), Some(3));
        assert_eq!(timers.pop(2), None);
        assert_eq!(timers.pop(5), Some(Due::Node("b".into())));
        assert_eq!(timers.pop(5), Some(Due::Job("a".into())));
        assert_eq!(timers.pop(i64::MAX), None);
    }
}
