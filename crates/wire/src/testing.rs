//! A bus in memory, for unit tests: exact subjects, `*` and `>`, and the 503 for requests that nobody hears.

use crate::bus::{BoxFuture, Bus, BusError, BusMessage, NO_RESPONDERS, Subscription};
use crate::headers::Headers;
use crate::requests::Requests;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Default)]
struct Hub(Mutex<Vec<(String, mpsc::Sender<BusMessage>)>>);

impl Hub {
    fn deliver(&self, message: &BusMessage) -> usize {
        let mut subscribers = self.0.lock().unwrap();
        subscribers.retain(|(_, to)| !to.is_closed());
        let matching = subscribers.iter().filter(|(pattern, _)| matches(pattern, &message.subject));
        matching.map(|(_, to)| to.try_send(message.clone()).unwrap()).count()
    }

    fn listen(&self, subject: &str) -> Subscription {
        let (sender, mut messages) = mpsc::channel(100_000);
        self.0.lock().unwrap().push((subject.to_owned(), sender));
        Subscription::new(futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx)))
    }
}

fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(p), Some(s)) if p == "*" || p == s => {}
            _ => return false,
        }
    }
}

/// One client of the bus in memory.
pub(crate) struct MemoryBus {
    hub: Arc<Hub>,
    requests: Requests,
}

impl MemoryBus {
    /// A bus with its first client.
    pub(crate) fn new() -> MemoryBus {
        MemoryBus::on(Arc::default())
    }

    /// Another client of the same bus.
    pub(crate) fn another(&self) -> MemoryBus {
        MemoryBus::on(Arc::clone(&self.hub))
    }

    fn on(hub: Arc<Hub>) -> MemoryBus {
        let requests = Requests::new();
        requests.read(hub.listen(&requests.subject()));
        MemoryBus { hub, requests }
    }
}

impl Bus for MemoryBus {
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        headers: &'a Headers,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        let headers = headers.clone();
        let (subject, reply) = (subject.to_owned(), reply.map(str::to_owned));
        let message = BusMessage { subject, reply, status: None, headers, payload };
        if let (0, Some(reply)) = (self.hub.deliver(&message), message.reply) {
            let (status, headers, payload) = (Some(NO_RESPONDERS), Headers::NONE, Bytes::new());
            self.hub.deliver(&BusMessage { subject: reply, reply: None, status, headers, payload });
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(std::future::ready(Ok(self.hub.listen(subject))))
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        headers: &'a Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<BusMessage, BusError>> {
        Box::pin(self.requests.ask(self, subject, headers, payload, timeout))
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }
}
