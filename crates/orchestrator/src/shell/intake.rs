//! What arrives from the nodes: decoded here, several subjects at a time, and handed to the driver in order.
//!
//! Frames that cannot be read are logged and, where their sender waits for an acknowledgement, acknowledged: a
//! refusal would only make it send the same bytes for ever.

use super::command::Command;
use bacalhau_wire::bus::{Bus, BusMessage, Subscription};
use bacalhau_wire::throttle::Throttle;
use bacalhau_wire::{control, data, subjects};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Subscribes to everything that nodes send. Must be done before the first handshake is answered.
pub(super) async fn start(
    bus: Arc<dyn Bus>,
    life: &str,
    commands: mpsc::Sender<Command>,
) -> Result<(), bacalhau_wire::bus::BusError> {
    let requests = bus.subscribe(subjects::ALL_CONTROL).await?;
    let reports = bus.subscribe(subjects::ALL_REPORTS).await?;
    let answers = bus.subscribe(&subjects::all_acks(life)).await?;
    tokio::spawn(pump(requests, commands.clone(), control_request));
    tokio::spawn(pump(reports, commands.clone(), report));
    tokio::spawn(pump(answers, commands, answer));
    Ok(())
}

/// Reads one message. What is wrong with it is logged unless too much is.
type Read = fn(BusMessage, &Throttle) -> Option<Command>;

/// Moves messages from a subscription to the driver until either is gone. A full driver slows the bus down.
async fn pump(mut from: Subscription, to: mpsc::Sender<Command>, read: Read) {
    let complaints = Throttle::default();
    while let Some(message) = from.next().await {
        if let Some(command) = read(message.of_node(), &complaints)
            && to.send(command).await.is_err()
        {
            return;
        }
    }
    // At shutdown the driver goes first, so this reaches it only when something is wrong.
    let _ = to.send(Command::Deaf).await;
}

fn control_request(message: BusMessage, complaints: &Throttle) -> Option<Command> {
    match control::read_request(&message) {
        Ok(asked) => Some(Command::Control { request: Box::new(asked.request), reply_to: asked.reply }),
        Err(error) => {
            if let Some(left_out) = complaints.admit() {
                tracing::warn!(subject = %message.subject, %error, left_out, "control request refused");
            }
            message.reply.map(|reply_to| Command::Refuse { reply_to, error })
        }
    }
}

fn report(message: BusMessage, complaints: &Throttle) -> Option<Command> {
    match data::read_report(&message) {
        Ok(report) => Some(Command::Report {
            node_id: report.node_id,
            message: Box::new(report.incoming.message),
            seq: report.incoming.seq,
            reply_to: report.reply,
        }),
        Err(error) => {
            if let Some(left_out) = complaints.admit() {
                tracing::warn!(subject = %message.subject, %error, left_out, "report dropped");
            }
            Some(Command::Unreadable { reply_to: message.reply })
        }
    }
}

/// The last token of the subject is the message's number, as [`super::post`] made it.
fn answer(message: BusMessage, _: &Throttle) -> Option<Command> {
    let (_, seq) = message.subject.rsplit_once('.')?;
    let node_id = subjects::sender(&message.subject)?;
    let result = data::check_ack(message.status, &message.payload);
    Some(Command::Answered { node_id: node_id.to_owned(), seq: seq.parse().ok()?, result })
}
