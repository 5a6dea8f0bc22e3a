//! A reader's place in the stream: what is stored first, then what is live, each event once and in order.
//!
//! Events are in the store before they are live, so a reader that subscribes first and then reads the store misses
//! nothing. One that is too slow for the live ones reads the store again from where it was.

use bacalhau_model::EncodedEvent;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Events as they come.
pub type LiveEvents = Receiver<Arc<EncodedEvent>>;

/// The place.
#[derive(Debug)]
pub struct Cursor {
    live: LiveEvents,
    position: u64,
    behind: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The event after the last one.
    Event(Arc<EncodedEvent>),
    /// Read the store from [`Cursor::position`] and hand it to [`Cursor::accept`].
    Behind,
    /// The orchestrator stops.
    Over,
}

impl Cursor {
    /// A reader that has all up to number `position`; `live` was subscribed before that number was looked up.
    pub fn new(live: LiveEvents, position: u64) -> Cursor {
        Cursor { live, position, behind: true }
    }

    /// Number of the last event that was taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on after number `position`.
    pub fn move_to(&mut self, position: u64) {
        self.position = position;
        self.behind = true;
    }

    /// True when the store is to be read.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Takes what the store has after [`Cursor::position`], of which `limit` were asked for.
    ///
    /// # Errors
    /// The number of the first event when those before it are not kept any more. Nothing is taken then.
    pub fn accept(&mut self, page: &[EncodedEvent], limit: usize) -> Result<(), u64> {
        if let Some(first) = page.first()
            && first.seq_num != self.position.saturating_add(1)
        {
            return Err(first.seq_num);
        }
        self.position = page.last().map_or(self.position, |last| last.seq_num);
        self.behind = page.len() >= limit;
        Ok(())
    }

    /// Waits for the next. Safe to cancel.
    pub async fn next(&mut self) -> Next {
        loop {
            if self.behind {
                return Next::Behind;
            }
            match self.live.recv().await {
                Ok(event) => {
                    if let Some(next) = self.judge(event) {
                        return next;
                    }
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Next::Over,
            }
        }
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Arc<EncodedEvent>> {
        while !self.behind {
            match self.live.try_recv() {
                Ok(event) => {
                    if let Some(Next::Event(event)) = self.judge(event) {
                        return Some(event);
                    }
                }
                Err(TryRecvError::Lagged(_)) => self.behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        None
    }

    /// `None` for an event that the store gave already.
    fn judge(&mut self, event: Arc<EncodedEvent>) -> Option<Next> {
        if event.seq_num <= self.position {
            return None;
        }
        if event.seq_num > self.position.saturating_add(1) {
            self.behind = true;
            return Some(Next::Behind);
        }
        self.position = event.seq_num;
        Some(Next::Event(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    fn event(seq_num: u64) -> EncodedEvent {
        EncodedEvent { seq_num, ..EncodedEvent::default() }
    }

    #[tokio::test]
    async fn stored_then_live_each_once() {
        let (sender, live) = broadcast::channel(2);
        let send = |n| {
            sender.send(Arc::new(event(n))).unwrap();
        };
        let mut cursor = Cursor::new(live, 3);
        assert_eq!(cursor.next().await, Next::Behind);
        // Came while the store was being read, which had it already.
        send(5);
        cursor.accept(&[event(4), event(5)], 2).unwrap();
        assert!(cursor.is_behind(), "there may be more");
        cursor.accept(&[], 2).unwrap();
        send(6);
        assert_eq!(cursor.next().await, Next::Event(Arc::new(event(6))));
        assert_eq!(cursor.try_next(), None);
        // More than fit: the store has them.
        (7..=10).for_each(send);
        assert_eq!(cursor.next().await, Next::Behind);
        assert_eq!(cursor.position(), 6);
        cursor.accept(&[event(7), event(8), event(9), event(10)], 5).unwrap();
        assert_eq!(cursor.try_next(), None);
        send(11);
        assert_eq!(cursor.try_next(), Some(Arc::new(event(11))));
        // What is gone is told.
        cursor.move_to(2);
        assert_eq!(cursor.accept(&[event(8)], 1), Err(8));
        assert_eq!(cursor.position(), 2);
        cursor.move_to(11);
        cursor.accept(&[], 1).unwrap();
        drop(sender);
        assert_eq!(cursor.next().await, Next::Over);
    }
}
