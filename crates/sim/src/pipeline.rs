//! Batches between a core and its disk, as the real shells have them: handed over in order, bounded in number, written
//! in transactions of whatever waits (group commit), and their effects released in order, after their commit.

use std::collections::VecDeque;

/// Batches under way at most. Fewer than in the real shells, so that the bound is met often.
const MOST_IN_FLIGHT: usize = 6;

struct Batch<C, E> {
    tag: u64,
    changes: Vec<C>,
    effects: Vec<E>,
    durable: bool,
}

/// The batches of one host.
pub(crate) struct Pipeline<C, E> {
    batches: VecDeque<Batch<C, E>>,
    /// How many of the first batches the transaction under way holds.
    in_transaction: usize,
}

/// How much of a transaction a crash leaves on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// The batches before this one: they were transactions of their own.
    Batches(usize),
    /// The changes before this one, which no sound disk does.
    Changes(usize),
}

impl<C, E> Pipeline<C, E> {
    pub(crate) fn new() -> Pipeline<C, E> {
        Pipeline { batches: VecDeque::new(), in_transaction: 0 }
    }

    /// False while nothing more should be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.batches.len() < MOST_IN_FLIGHT
    }

    /// True when nothing is on its way to the disk or out.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches under way.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Hands a batch over. One without changes waits only for those before it.
    pub(crate) fn hand_over(&mut self, changes: Vec<C>, effects: Vec<E>, tag: u64) {
        if !changes.is_empty() || !effects.is_empty() {
            self.batches.push_back(Batch { tag, durable: changes.is_empty(), changes, effects });
        }
    }

    /// Starts a transaction of everything that waits. True when there is one to wait for.
    pub(crate) fn begin(&mut self) -> bool {
        if self.in_transaction > 0 || self.batches.iter().all(|batch| batch.durable) {
            return false;
        }
        self.in_transaction = self.batches.len();
        true
    }

    /// The transaction under way is on disk. Gives its batches' changes.
    pub(crate) fn commit(&mut self) -> Vec<Vec<C>> {
        let batches = self.batches.iter_mut().take(std::mem::take(&mut self.in_transaction));
        batches
            .filter(|batch| !batch.durable)
            .map(|batch| {
                batch.durable = true;
                std::mem::take(&mut batch.changes)
            })
            .collect()
    }

    /// The tag and effects of the oldest batch, if it is on disk.
    pub(crate) fn release(&mut self) -> Option<(u64, Vec<E>)> {
        self.batches.front().filter(|batch| batch.durable)?;
        self.in_transaction = self.in_transaction.saturating_sub(1);
        self.batches.pop_front().map(|batch| (batch.tag, batch.effects))
    }

    /// The process dies. Gives what of the transaction under way reached the disk all the same.
    pub(crate) fn crash(&mut self, left: Left) -> Vec<C> {
        let written = std::mem::take(&mut self.in_transaction);
        let batches = std::mem::take(&mut self.batches).into_iter().take(written);
        let changes = batches.filter(|batch| !batch.durable).map(|batch| batch.changes);
        match left {
            Left::Nothing => Vec::new(),
            Left::All => changes.flatten().collect(),
            Left::Batches(most) => changes.take(most).flatten().collect(),
            Left::Changes(most) => changes.flatten().take(most).collect(),
        }
    }

    /// The two oldest batches of the transaction under way change places, as no sound disk lets them.
    pub(crate) fn swap(&mut self) {
        if self.in_transaction > 1 {
            self.batches.swap(0, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_follow_their_commit_in_order() {
        let mut pipeline = Pipeline::new();
        pipeline.hand_over(vec![1], vec!["a"], 1);
        assert!(pipeline.begin());
        pipeline.hand_over(vec![], vec!["b"], 2);
        pipeline.hand_over(vec![2, 3], vec!["c"], 3);
        assert!(!pipeline.begin(), "one transaction at a time");
        assert_eq!(pipeline.release(), None);
        assert_eq!(pipeline.commit(), vec![vec![1]]);
        assert_eq!(pipeline.release(), Some((1, vec!["a"])));
        assert_eq!(pipeline.release(), Some((2, vec!["b"])));
        assert_eq!(pipeline.release(), None);
        assert!(pipeline.begin());
        assert_eq!(pipeline.crash(Left::Changes(1)), vec![2]);
        assert!(pipeline.is_empty());
    }
}
