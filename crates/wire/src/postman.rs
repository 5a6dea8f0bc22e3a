//! Publishes finished frames from a bounded queue, so that whoever decides never waits for the network.

use crate::bus::Bus;
use crate::data::{ACK, Outgoing};
use crate::headers::Headers;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Frames that wait to be published at most.
const MOST_FRAMES: usize = 4096;

struct Frame {
    subject: String,
    reply_to: Option<String>,
    headers: Headers,
    payload: Bytes,
}

/// The queue in front of a bus. Its task ends with the last clone.
#[derive(Clone)]
pub struct Postman {
    frames: mpsc::Sender<Frame>,
}

/// The queue is full: the frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST_FRAMES} frames wait to be published")]
pub struct Full;

impl Postman {
    /// Starts publishing to `bus`, in order.
    pub fn start(bus: Arc<dyn Bus>) -> Postman {
        let (frames, mut waiting) = mpsc::channel::<Frame>(MOST_FRAMES);
        tokio::spawn(async move {
            while let Some(frame) = waiting.recv().await {
                let reply_to = frame.reply_to.as_deref();
                if let Err(error) = bus.publish(&frame.subject, reply_to, &frame.headers, frame.payload).await
                {
                    // Messages are sent again when no acknowledgement comes, requests by those who asked.
                    tracing::debug!(subject = frame.subject, %error, "publishing failed");
                }
            }
        });
        Postman { frames }
    }

    /// Queues a message; `reply_to` is where its acknowledgement is expected.
    pub fn post(&self, outgoing: Outgoing, reply_to: Option<String>) -> Result<(), Full> {
        let Outgoing { subject, headers, payload } = outgoing;
        self.frames.try_send(Frame { subject, reply_to, headers, payload }).map_err(|_| Full)
    }

    /// Queues the acknowledgement of a message that named `reply_to`.
    pub fn acknowledge(&self, reply_to: String) -> Result<(), Full> {
        let payload = Bytes::from_static(ACK);
        let frame = Frame { subject: reply_to, reply_to: None, headers: Headers::default(), payload };
        self.frames.try_send(frame).map_err(|_| Full)
    }

    /// True when nothing more can be queued now.
    pub fn is_full(&self) -> bool {
        self.frames.capacity() == 0
    }
}
