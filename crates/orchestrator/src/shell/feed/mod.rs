//! The event stream: numbers the events of a batch, has them stored in the batch's own commit, and lets them out when
//! that commit is on disk.
//!
//! Nothing here waits: readers that are too slow for what is live read the store ([`Cursor`]).

mod cursor;
mod derive;
mod publish;

pub use cursor::{Cursor, LiveEvents, Next};
pub(super) use publish::publish;

use bacalhau_model::{ClusterEvent, EncodedEvent, NodeState, Time};
use bacalhau_store::orchestrator::{Change, Snapshot};
use derive::Teller;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Live events that a reader may be behind before it has to read the store. A few hundred bytes each.
const MOST_LIVE: usize = 4096;
/// Old events are forgotten in portions of this part of all that are kept, so that few commits pay for it.
const PORTION: u64 = 64;

/// Events kept when the configuration does not say: some tens of megabytes.
pub const EVENTS_KEPT: u64 = 100_000;

/// The writing end of the stream.
pub(super) struct Feed {
    teller: Teller,
    /// Events that come before those of the first batch.
    first: Vec<ClusterEvent>,
    /// Number of the next event.
    next: u64,
    keep: u64,
    /// Events on their way to the disk, by batch.
    waiting: VecDeque<(u64, Vec<Arc<EncodedEvent>>)>,
    live: broadcast::Sender<Arc<EncodedEvent>>,
}

impl Feed {
    /// Goes on after number `last` from what a former life stored. `keep` events are kept, at least.
    pub(super) fn new(snapshot: &Snapshot, last: u64, keep: u64) -> Feed {
        let (live, _) = broadcast::channel(MOST_LIVE);
        let teller = Teller::new(snapshot);
        Feed {
            teller,
            first: Vec::new(),
            next: last.saturating_add(1),
            keep: keep.max(PORTION),
            waiting: VecDeque::new(),
            live,
        }
    }

    /// How nodes look after the restart, when that is not as it was stored.
    pub(super) fn restarted<'a>(&mut self, nodes: impl Iterator<Item = &'a NodeState>) {
        self.first.extend(nodes.filter_map(|node| self.teller.node(node)));
    }

    /// Where readers listen.
    pub(super) fn live(&self) -> broadcast::WeakSender<Arc<EncodedEvent>> {
        self.live.downgrade()
    }

    /// Adds the events of a batch to its changes.
    pub(super) fn append(&mut self, now: i64, batch: u64, changes: &mut Vec<Change>) {
        let mut told = std::mem::take(&mut self.first);
        told.append(&mut self.teller.tell(changes));
        if told.is_empty() {
            return;
        }
        let (begin, time) = (self.next, Time::from_unix_nanos(now));
        let mut events = Vec::with_capacity(told.len());
        for mut event in told {
            (event.seq_num, event.time) = (self.next, time);
            match EncodedEvent::of(&event) {
                Ok(event) => {
                    events.push(Arc::new(event));
                    self.next = self.next.saturating_add(1);
                }
                Err(error) => tracing::error!(%error, "an event cannot be encoded and is left out"),
            }
        }
        let portion = self.keep / PORTION;
        let forget_below = match begin / portion == self.next / portion {
            true => 0,
            false => self.next.saturating_sub(self.keep),
        };
        changes.push(Change::AppendEvents { events: events.clone(), forget_below });
        self.waiting.push_back((batch, events));
    }

    /// All batches up to this one are on disk: their events go out.
    pub(super) fn release(&mut self, batch: u64) {
        while self.waiting.front().is_some_and(|(of, _)| *of <= batch) {
            for event in self.waiting.pop_front().into_iter().flat_map(|(_, events)| events) {
                // Nobody listening is fine: whoever comes later reads the store.
                let _ = self.live.send(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::Job;

    fn batch(feed: &mut Feed, number: u64, jobs: u64) -> (Vec<u64>, u64) {
        let job = |n| Change::PutJob(Arc::new(Job { id: format!("j-{n}"), ..Job::default() }));
        let mut changes: Vec<Change> = (0..jobs).map(job).collect();
        feed.append(5, number, &mut changes);
        match changes.pop() {
            Some(Change::AppendEvents { events, forget_below }) => {
                (events.iter().map(|e| e.seq_num).collect(), forget_below)
            }
            _ => (Vec::new(), 0),
        }
    }

    #[test]
    fn numbers_have_no_gaps_and_leave_after_their_commit() {
        let mut feed = Feed::new(&Snapshot::default(), 41, 0);
        let mut live = feed.live().upgrade().unwrap().subscribe();
        assert_eq!(batch(&mut feed, 0, 2).0, [42, 43]);
        assert_eq!(batch(&mut feed, 1, 0).0, [0; 0]);
        assert_eq!(batch(&mut feed, 2, 1).0, [44]);
        let mut out = || std::iter::from_fn(|| live.try_recv().ok()).map(|e| e.seq_num).collect::<Vec<_>>();
        assert_eq!(out(), [0; 0]);
        feed.release(0);
        assert_eq!(out(), [42, 43]);
        feed.release(2);
        assert_eq!(out(), [44]);
    }

    #[test]
    fn the_oldest_are_forgotten_in_portions() {
        let mut feed = Feed::new(&Snapshot::default(), 0, 640);
        let mut kept_from = 1;
        for number in 0..500 {
            let (numbers, forget_below) = batch(&mut feed, number, 3);
            kept_from = kept_from.max(forget_below);
            let newest = numbers[2];
            let kept = newest + 1 - kept_from;
            assert!(kept == newest || (640..=660).contains(&kept), "{kept} of {newest}");
        }
        assert!(kept_from > 800);
    }

    #[test]
    fn a_restart_is_told_of_nodes_that_were_connected() {
        let mut node = NodeState::default();
        node.info.node_id = "n-1".into();
        node.connection_state.status = bacalhau_model::Connection::Connected;
        let snapshot = Snapshot { nodes: vec![node.clone()], ..Snapshot::default() };
        let mut feed = Feed::new(&snapshot, 0, 0);
        node.connection_state.status = bacalhau_model::Connection::Disconnected;
        node.connection_state.last_error = "orchestrator restarted".into();
        feed.restarted([&node].into_iter());
        let mut changes = Vec::new();
        feed.append(5, 0, &mut changes);
        let Some(Change::AppendEvents { events, .. }) = changes.pop() else { panic!("no events") };
        assert!(events[0].text.contains("\"State\":\"DISCONNECTED\""), "{}", events[0].text);
        assert!(events[0].text.contains("orchestrator restarted"), "{}", events[0].text);
    }
}
