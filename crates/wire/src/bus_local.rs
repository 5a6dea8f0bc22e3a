//! The bus inside the process that embeds the NATS server: no socket, no copy of payloads.

use crate::bus::{BoxFuture, Bus, BusError, BusMessage, Subscription};
use crate::headers::Headers;
use crate::requests::Requests;
use bacalhau_nats_server::{Error, LocalClient, LocalSubscription, Message, SubscriptionEnd};
use bytes::Bytes;
use futures_util::stream;
use std::time::Duration;

/// A local client of the embedded server as a [`Bus`].
pub struct LocalBus {
    client: LocalClient,
    requests: Requests,
    max_payload: usize,
}

impl LocalBus {
    /// Wraps a client. `max_payload` is the server's limit in bytes. Needs a tokio runtime to be running.
    pub fn new(client: LocalClient, max_payload: usize) -> Result<LocalBus, BusError> {
        let bus = LocalBus { client, requests: Requests::new(), max_payload };
        let answers = bus.listen(&bus.requests.subject())?;
        bus.requests.read(answers);
        Ok(bus)
    }

    fn listen(&self, subject: &str) -> Result<Subscription, BusError> {
        let messages = self.client.subscribe(subject).map_err(|e| error(subject, e))?;
        Ok(Subscription::new(stream::unfold((messages, subject.to_owned()), next)))
    }

    fn send(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: &Headers,
        payload: Bytes,
    ) -> Result<(), BusError> {
        let block = (!headers.is_empty()).then(|| Bytes::from(headers.to_block()));
        self.client.publish(subject, reply, block, payload).map_err(|e| error(subject, e))
    }
}

async fn next(
    (mut messages, subject): (LocalSubscription, String),
) -> Option<(BusMessage, (LocalSubscription, String))> {
    match messages.next().await {
        Some(message) => Some((from_message(message), (messages, subject))),
        None => {
            if messages.end() == Some(SubscriptionEnd::Overflow) {
                tracing::error!(subject, "messages were lost: this process reads them too slowly");
            }
            None
        }
    }
}

fn from_message(message: Message) -> BusMessage {
    let (status, headers) = message.headers.as_deref().map(Headers::parse_block).unwrap_or_default();
    BusMessage {
        subject: message.subject.as_str().to_owned(),
        reply: message.reply.map(|reply| reply.as_str().to_owned()),
        status,
        headers,
        payload: message.payload,
    }
}

fn error(subject: &str, error: Error) -> BusError {
    let subject = subject.to_owned();
    match error {
        Error::PayloadTooLarge { size, limit } => BusError::TooLarge { subject, size, limit },
        Error::Busy { .. } => BusError::Busy(error.to_string()),
        Error::Closed => BusError::Closed,
        other => BusError::Subject { subject, reason: other.to_string() },
    }
}

impl Bus for LocalBus {
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        headers: &'a Headers,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(std::future::ready(self.send(subject, reply, headers, payload)))
    }

    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(std::future::ready(self.listen(subject)))
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
        self.max_payload
    }
}
