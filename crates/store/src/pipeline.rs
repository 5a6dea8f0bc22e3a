//! Batches between a core and its disk: handed over in order, bounded in number, and their effects released in order,
//! each batch's when it is on disk and not before.

use crate::error::StoreError;
use crate::writer::Writer;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches on their way to the disk at most.
const MOST_IN_FLIGHT: usize = 32;

/// How the commit of a batch ended.
pub type Committed = (u64, Result<(), Arc<StoreError>>);

struct Batch<E> {
    number: u64,
    tag: u64,
    durable: bool,
    effects: Vec<E>,
}

/// The batches of one core.
pub struct Pipeline<C: 'static, E> {
    writer: Writer<C>,
    in_flight: VecDeque<Batch<E>>,
    next: u64,
    committed: mpsc::Sender<Committed>,
}

impl<C: Send + 'static, E> Pipeline<C, E> {
    /// An empty pipeline. What arrives on the receiver goes to [`Pipeline::committed`].
    pub fn new(writer: Writer<C>) -> (Pipeline<C, E>, mpsc::Receiver<Committed>) {
        // As many places as there can be commits, so that the writer never waits for the core's task.
        let (committed, receiver) = mpsc::channel(MOST_IN_FLIGHT + 1);
        (Pipeline { writer, in_flight: VecDeque::new(), next: 0, committed }, receiver)
    }

    /// False while so many batches are on their way that no more should be made.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < MOST_IN_FLIGHT
    }

    /// Hands a batch over. Its effects come back from [`Pipeline::release`], together with `tag`. A batch without
    /// changes waits only for those before it; one with nothing at all is dropped.
    pub fn hand_over(&mut self, changes: Vec<C>, effects: Vec<E>, tag: u64) {
        if changes.is_empty() && effects.is_empty() {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.in_flight.push_back(Batch { number, tag, durable: changes.is_empty(), effects });
        if !changes.is_empty() {
            let committed = self.committed.clone();
            let done = move |result| {
                // There is a place for every batch; an error means that the core's task is gone.
                let _ = committed.try_send((number, result));
            };
            self.writer.commit(changes, Box::new(done));
        }
    }

    /// A commit ended.
    ///
    /// # Errors
    /// The store's: nothing is written any more and nothing may go on.
    pub fn committed(&mut self, (number, result): Committed) -> Result<(), Arc<StoreError>> {
        result?;
        if let Some(batch) = self.in_flight.iter_mut().find(|b| b.number == number) {
            batch.durable = true;
        }
        Ok(())
    }

    /// The tag and effects of the oldest batch, if it is on disk.
    pub fn release(&mut self) -> Option<(u64, Vec<E>)> {
        self.in_flight.front().filter(|batch| batch.durable)?;
        self.in_flight.pop_front().map(|batch| (batch.tag, batch.effects))
    }

    /// True while a batch is on its way to the disk.
    pub fn is_writing(&self) -> bool {
        self.in_flight.iter().any(|batch| !batch.durable)
    }

    /// Writes what is on its way and closes the database.
    pub fn close(&self) {
        self.writer.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    static SCHEMA: Schema<u32> = Schema {
        migrations: &["CREATE TABLE t (n)"],
        apply: |transaction, n| transaction.execute("INSERT INTO t VALUES (?1)", [n]).map(drop),
        sweep: |_| Ok(false),
    };

    #[test]
    fn effects_wait_for_their_commit_and_for_those_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mut pipeline, mut committed) = Pipeline::new(Writer::open(dir.path(), &SCHEMA).unwrap());
        pipeline.hand_over(vec![1], vec!["a"], 7);
        pipeline.hand_over(vec![], vec!["b"], 8);
        pipeline.hand_over(vec![], vec![], 9);
        assert_eq!(pipeline.release(), None);
        let done = committed.blocking_recv().unwrap();
        pipeline.committed(done).unwrap();
        assert_eq!(pipeline.release(), Some((7, vec!["a"])));
        assert_eq!(pipeline.release(), Some((8, vec!["b"])));
        assert_eq!(pipeline.release(), None);
        assert!(!pipeline.is_writing());
    }

    #[test]
    fn a_full_pipeline_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (mut pipeline, mut committed) = Pipeline::new(Writer::open(dir.path(), &SCHEMA).unwrap());
        for n in 0..MOST_IN_FLIGHT {
            assert!(pipeline.has_room());
            pipeline.hand_over(vec![1], vec![n], 0);
        }
        assert!(!pipeline.has_room());
        for _ in 0..MOST_IN_FLIGHT {
            let done = committed.blocking_recv().unwrap();
            pipeline.committed(done).unwrap();
        }
        let released: Vec<_> =
            std::iter::from_fn(|| pipeline.release()).flat_map(|(_, effects)| effects).collect();
        assert_eq!(released, (0..MOST_IN_FLIGHT).collect::<Vec<_>>());
    }
}
