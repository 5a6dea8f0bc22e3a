//! Answers to requests: one shared inbox per bus, `_INBOX.<nuid>.*`, instead of a subscription per request.

use crate::bus::{Bus, BusError, BusMessage, NO_RESPONDERS, Subscription};
use crate::headers::Headers;
use crate::inbox::{base62, nuid};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Requests that may wait for answers at the same time on one bus.
const MOST_WAITING: usize = 65_536;

/// The inbox of one bus and who waits for what in it.
pub(crate) struct Requests {
    prefix: String,
    waiting: Arc<Waiting>,
    count: AtomicU64,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiting(Mutex<Option<HashMap<String, oneshot::Sender<BusMessage>>>>);

impl Waiting {
    /// Runs on the map; `None` once the inbox is closed. No lock outlives the call.
    fn with<R>(&self, f: impl FnOnce(&mut HashMap<String, oneshot::Sender<BusMessage>>) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(f)
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Requests {
    /// An inbox with a new name. Its owner subscribes to [`Requests::subject`] and hands that to [`Requests::read`].
    pub(crate) fn new() -> Requests {
        Requests::named(format!("_INBOX.{}", nuid()))
    }

    /// An inbox with this name.
    pub(crate) fn named(name: String) -> Requests {
        Requests {
            prefix: format!("{name}."),
            waiting: Arc::new(Waiting(Mutex::new(Some(HashMap::new())))),
            count: AtomicU64::new(0),
            reader: Mutex::new(None),
        }
    }

    /// What to subscribe to.
    pub(crate) fn subject(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// Hands answers to those who wait, until the subscription ends; then everybody learns that the bus is closed.
    pub(crate) fn read(&self, mut subscription: Subscription) {
        let (waiting, skip) = (Arc::clone(&self.waiting), self.prefix.len());
        let reader = tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                let token = message.subject.get(skip..).unwrap_or_default();
                // Late answers find nobody. One who stopped waiting just now does not mind.
                let Some(Some(waiter)) = waiting.with(|map| map.remove(token)) else { continue };
                let _ = waiter.send(message);
            }
            waiting.close();
        });
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }

    /// Sends a message on the bus that this is the inbox of and waits for one answer: [`Bus::request`].
    pub(crate) async fn ask(
        &self,
        bus: &dyn Bus,
        subject: &str,
        headers: &Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<BusMessage, BusError> {
        let expected = self.expect()?;
        bus.publish(subject, Some(&expected.reply), headers, payload).await?;
        expected.answer(subject, timeout).await
    }

    /// Opens a place for one answer.
    fn expect(&self) -> Result<Expected, BusError> {
        let token = base62(u128::from(self.count.fetch_add(1, Ordering::Relaxed)), 8);
        let (sender, answer) = oneshot::channel();
        let taken = self.waiting.with(|map| {
            let room = map.len() < MOST_WAITING;
            if room {
                map.insert(token.clone(), sender);
            }
            room
        });
        match taken {
            Some(true) => {}
            Some(false) => return Err(BusError::Busy(format!("{MOST_WAITING} requests wait for answers"))),
            None => return Err(BusError::Closed),
        }
        let reply = format!("{}{token}", self.prefix);
        Ok(Expected { reply, token, answer, waiting: Arc::clone(&self.waiting) })
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.abort();
        }
        self.waiting.close();
    }
}

/// A place for one answer; dropping it closes it.
pub(crate) struct Expected {
    /// The reply subject.
    pub(crate) reply: String,
    token: String,
    answer: oneshot::Receiver<BusMessage>,
    waiting: Arc<Waiting>,
}

impl Expected {
    /// Waits for the answer.
    pub(crate) async fn answer(mut self, subject: &str, timeout: Duration) -> Result<BusMessage, BusError> {
        let subject = || subject.to_owned();
        match tokio::time::timeout(timeout, &mut self.answer).await {
            Err(_) => Err(BusError::Timeout { subject: subject(), after: timeout }),
            Ok(Err(_)) => Err(BusError::Closed),
            Ok(Ok(message)) if message.status == Some(NO_RESPONDERS) => {
                Err(BusError::NoResponders { subject: subject() })
            }
            Ok(Ok(message)) => Ok(message),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.with(|map| map.remove(&self.token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;
    use tokio::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn inbox() -> (Requests, mpsc::Sender<BusMessage>) {
        let (sender, mut receiver) = mpsc::channel(8);
        let requests = Requests::new();
        requests.read(Subscription::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))));
        (requests, sender)
    }

    fn answer(subject: &str, status: Option<u16>) -> BusMessage {
        let (headers, payload) = (Headers::NONE, bytes::Bytes::from_static(b"yes"));
        BusMessage { subject: subject.to_owned(), reply: None, status, headers, payload }
    }

    #[tokio::test]
    async fn each_answer_finds_its_request() {
        let (requests, server) = inbox();
        let (first, second) = (requests.expect().unwrap(), requests.expect().unwrap());
        let third = requests.expect().unwrap();
        for reply in [&second.reply, &first.reply] {
            server.send(answer(reply, None)).await.unwrap();
        }
        server.send(answer(&third.reply, Some(503))).await.unwrap();
        let reply = first.reply.clone();
        assert_eq!(first.answer("s", LONG).await.unwrap().subject, reply);
        assert_eq!(&second.answer("s", LONG).await.unwrap().payload[..], b"yes");
        let error = third.answer("s", LONG).await.unwrap_err();
        assert_eq!(error, BusError::NoResponders { subject: "s".into() });
        assert_eq!(requests.waiting.with(|map| map.len()), Some(0));
    }

    #[tokio::test]
    async fn nothing_is_left_of_requests_that_gave_up() {
        let (requests, server) = inbox();
        let error = requests.expect().unwrap().answer("s", SHORT).await.unwrap_err();
        assert!(matches!(error, BusError::Timeout { .. }));
        drop(requests.expect().unwrap());
        assert_eq!(requests.waiting.with(|map| map.len()), Some(0));
        server.send(answer("_INBOX.nobody.x", None)).await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_bus_ends_the_waiting() {
        let (requests, server) = inbox();
        let waits = requests.expect().unwrap();
        drop(server);
        assert_eq!(waits.answer("s", LONG).await.unwrap_err(), BusError::Closed);
        assert!(matches!(requests.expect(), Err(BusError::Closed)));
    }
}
