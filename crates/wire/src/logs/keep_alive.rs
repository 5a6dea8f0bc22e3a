//! The node's book of open streams: who wants them, and who does not any more. Pure bookkeeping.

use super::frames::{AliveRequest, AliveResponse};
use std::collections::BTreeMap;

/// Keep-alives in a row that may go unanswered before a consumer counts as gone.
const MOST_MISSED: u32 = 2;

/// A stream, by where its consumer is asked and its ID there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey {
    /// Subject for keep-alives.
    pub(super) consumer: String,
    /// ID given by the consumer.
    pub(super) stream_id: String,
}

/// Open streams with something of the caller's for each.
#[derive(Debug)]
pub(super) struct Book<S> {
    consumers: BTreeMap<String, Consumer<S>>,
}

#[derive(Debug)]
struct Consumer<S> {
    streams: BTreeMap<String, S>,
    missed: u32,
}

impl<S> Book<S> {
    pub(super) fn new() -> Book<S> {
        Book { consumers: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.consumers.values().map(|consumer| consumer.streams.len()).sum()
    }

    /// Notes a stream; the old one when the key was in use.
    pub(super) fn insert(&mut self, key: StreamKey, stream: S) -> Option<S> {
        let consumer = self.consumers.entry(key.consumer);
        consumer
            .or_insert(Consumer { streams: BTreeMap::new(), missed: 0 })
            .streams
            .insert(key.stream_id, stream)
    }

    /// Forgets a stream that ended.
    pub(super) fn remove(&mut self, key: &StreamKey) -> Option<S> {
        let consumer = self.consumers.get_mut(&key.consumer)?;
        let stream = consumer.streams.remove(&key.stream_id);
        if consumer.streams.is_empty() {
            self.consumers.remove(&key.consumer);
        }
        stream
    }

    /// What to ask whom now. `subject` is the one that streams are requested on.
    pub(super) fn questions(&self, subject: &str) -> Vec<(String, AliveRequest)> {
        let question = |(name, consumer): (&String, &Consumer<S>)| {
            let ids = consumer.streams.keys().cloned().collect();
            let active_stream_ids = BTreeMap::from([(subject.to_owned(), Some(ids))]);
            (name.clone(), AliveRequest { active_stream_ids })
        };
        self.consumers.iter().map(question).collect()
    }

    /// Takes out what a consumer does not want any more; all of it when it has not answered too often.
    pub(super) fn answered(&mut self, consumer: &str, answer: Option<AliveResponse>) -> Vec<S> {
        let Some(entry) = self.consumers.get_mut(consumer) else { return Vec::new() };
        let Some(answer) = answer else {
            entry.missed += 1;
            if entry.missed < MOST_MISSED {
                return Vec::new();
            }
            return self
                .consumers
                .remove(consumer)
                .map_or_else(Vec::new, |c| c.streams.into_values().collect());
        };
        entry.missed = 0;
        let ids = answer.non_active_stream_ids.into_values().flatten().flatten();
        let unwanted: Vec<S> = ids.filter_map(|id| entry.streams.remove(&id)).collect();
        if entry.streams.is_empty() {
            self.consumers.remove(consumer);
        }
        unwanted
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self) -> Vec<S> {
        std::mem::take(&mut self.consumers).into_values().flat_map(|c| c.streams.into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(consumer: &str, stream_id: &str) -> StreamKey {
        StreamKey { consumer: consumer.into(), stream_id: stream_id.into() }
    }

    fn no_more(ids: &[&str]) -> Option<AliveResponse> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Some(AliveResponse { non_active_stream_ids: BTreeMap::from([("s".to_owned(), Some(ids))]) })
    }

    #[test]
    fn only_what_is_named_is_ended() {
        let mut book = Book::new();
        for (n, (consumer, id)) in [("a", "1"), ("a", "2"), ("b", "1")].into_iter().enumerate() {
            assert_eq!(book.insert(key(consumer, id), n), None);
        }
        assert_eq!(book.len(), 3);
        let asked: Vec<String> = book.questions("s").into_iter().map(|(name, _)| name).collect();
        assert_eq!(asked, ["a", "b"]);
        assert_eq!(book.answered("a", no_more(&["2", "9"])), [1]);
        assert_eq!(book.answered("a", no_more(&[])), [] as [usize; 0]);
        assert_eq!(book.remove(&key("a", "1")), Some(0));
        assert_eq!(book.answered("a", None), [] as [usize; 0]);
        assert_eq!(book.drain(), [2]);
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn one_lost_answer_is_forgiven_and_two_are_not() {
        let mut book = Book::new();
        book.insert(key("a", "1"), 1);
        book.insert(key("a", "2"), 2);
        assert!(book.answered("a", None).is_empty());
        assert!(book.answered("a", no_more(&[])).is_empty());
        assert!(book.answered("a", None).is_empty());
        assert_eq!(book.answered("a", None), [1, 2]);
    }
}
