//! Publishes the stream on NATS: a reader like any other, so a burst makes it late and loses nothing.

use super::{Cursor, Next};
use bacalhau_model::EncodedEvent;
use bacalhau_store::orchestrator::Reader;
use bacalhau_wire::bus::{Bus, BusError};
use bacalhau_wire::headers::Headers;
use bacalhau_wire::subjects;
use bacalhau_wire::throttle::Throttle;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Events read from the store at once.
const PAGE: usize = 512;
/// Before another try while the bus is busy, and the longest such wait.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Publishes what comes after the cursor's place until the stream or the bus ends. Events that were stored in the last
/// moments of a former life are not published: their numbers are missing, and HTTP has them.
pub(in crate::shell) async fn publish(mut cursor: Cursor, reader: Reader, bus: Arc<dyn Bus>) {
    let complaints = Throttle::default();
    loop {
        match cursor.next().await {
            Next::Event(event) => {
                if !send(&*bus, &event, &complaints).await {
                    return;
                }
            }
            Next::Behind => {
                let (from, reader) = (cursor.position(), reader.clone());
                let read = tokio::task::spawn_blocking(move || reader.events(from, PAGE)).await;
                let page = match read {
                    Ok(Ok(page)) => page,
                    Ok(Err(error)) => {
                        if let Some(left_out) = complaints.admit() {
                            tracing::error!(%error, after = from, left_out, "events cannot be read, trying again");
                        }
                        tokio::time::sleep(LONGEST_PAUSE).await;
                        continue;
                    }
                    // The runtime is ending.
                    Err(_) => return,
                };
                if let Err(oldest) = cursor.accept(&page, PAGE) {
                    tracing::warn!(
                        from = from + 1,
                        to = oldest - 1,
                        "events were not published: they are kept no longer"
                    );
                    cursor.move_to(oldest - 1);
                    continue;
                }
                for event in &page {
                    if !send(&*bus, event, &complaints).await {
                        return;
                    }
                }
            }
            Next::Over => return,
        }
    }
}

/// Publishes one. False when the bus is gone.
async fn send(bus: &dyn Bus, event: &EncodedEvent, complaints: &Throttle) -> bool {
    let subject = subjects::event(event.kind.as_str(), &event.subject_id);
    let mut pause = PAUSE;
    loop {
        let payload = Bytes::copy_from_slice(event.text.as_bytes());
        match bus.publish(&subject, None, &Headers::default(), payload).await {
            Ok(()) => return true,
            Err(BusError::Closed) => return false,
            Err(BusError::Busy(_)) => {
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            Err(error) => {
                if let Some(left_out) = complaints.admit() {
                    tracing::warn!(seq = event.seq_num, subject, %error, left_out, "an event was not published");
                }
                return true;
            }
        }
    }
}
