//! Things that are due at a time, as state that a restart rebuilds, never as a sleeping task.

use super::seeded::Map;
use std::collections::BTreeMap;

/// What is due. A timer is a hint: its handler looks at the current state and decides what there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// By time, then by number: most inputs of a batch are due at the same time, and numbers are quickly compared.
    order: BTreeMap<(i64, u64), Due>,
    of: Map<Due, (i64, u64)>,
    /// Number of the latest request.
    last: u64,
}

impl Timers {
    /// Asks for a look at `what` at `at` (nanoseconds since 1970), instead of any earlier request; `None` asks for none.
    pub(crate) fn set(&mut self, what: Due, at: Option<i64>) {
        let known = self.of.get(&what).copied();
        if known.map(|(known, _)| known) == at {
            return;
        }
        if let Some(old) = known {
            self.order.remove(&old);
        }
        let Some(at) = at else {
            self.of.remove(&what);
            return;
        };
        self.last += 1;
        self.order.insert((at, self.last), what.clone());
        self.of.insert(what, (at, self.last));
    }

    /// The earliest time anything is due.
    pub(crate) fn next(&self) -> Option<i64> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one thing that is due, of those due at the same time the one that was asked for first.
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
        timers.set(Due::Job("z".into()), Some(7));
        timers.set(Due::Job("y".into()), Some(7));
        timers.set(Due::Job("c".into()), None);
        assert_eq!(timers.next(), Some(3));
        assert_eq!(timers.pop(2), None);
        assert_eq!(timers.pop(5), Some(Due::Node("b".into())));
        assert_eq!(timers.pop(5), Some(Due::Job("a".into())));
        assert_eq!(timers.pop(7), Some(Due::Job("z".into())));
        assert_eq!(timers.pop(7), Some(Due::Job("y".into())));
        assert_eq!(timers.pop(i64::MAX), None);
        assert!(timers.of.is_empty() && timers.order.is_empty());
    }
}
