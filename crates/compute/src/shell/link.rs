//! The link to the orchestrator: connect, shake hands, take messages, send heartbeats, and all over when it breaks.

use super::driver::{self, Command};
use super::engines::Told;
use super::runs::Lasting;
use super::{Description, Way, load};
use crate::shell::log_source::Logs;
use bacalhau_model::{NodeInfo, Time, node::protocol};
use bacalhau_wire::bus::{Bus, BusError, BusMessage, Subscription};
use bacalhau_wire::connect::{Connector, Status};
use bacalhau_wire::control::{ControlClient, ControlError};
use bacalhau_wire::logs::LogServer;
use bacalhau_wire::messages::{
    HandshakeRequest, HeartbeatRequest, ShutdownNoticeRequest, UpdateNodeInfoRequest,
};
use bacalhau_wire::postman::Postman;
use bacalhau_wire::{data, subjects};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// Heartbeats without an answer after which the connection counts as broken.
const MOST_MISSED: u32 = 5;
/// First pause after a handshake that failed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between handshakes.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Executions named in a good-bye at most: half a megabyte of IDs, which fits into one message.
const MOST_NAMED: usize = 10_000;

/// Everything the link needs.
pub(super) struct Link {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) description: Description,
    pub(super) last_processed: watch::Receiver<u64>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) heartbeat: Duration,
    pub(super) info_update: Duration,
    pub(super) logs: Arc<Logs>,
    /// What the orchestrator knows of the node's engines.
    pub(super) told: watch::Sender<Told>,
    pub(super) started: Time,
    /// What the next life of the node can go on with; `None` when there will be none.
    pub(super) lasting: Option<Lasting>,
}

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    /// The connection is gone or useless.
    Lost,
    /// The orchestrator wants a new handshake on the same connection.
    ShakeAgain,
    /// The node stops.
    Stopping,
}

impl Link {
    /// Runs until the node stops. Gives the connection's state as it changes.
    pub(super) fn spawn(self, way: Way) -> (watch::Receiver<Status>, JoinHandle<()>) {
        match way {
            Way::Connect(options) => {
                let connector = Connector::new(options);
                (connector.status(), tokio::spawn(self.over_network(connector)))
            }
            Way::Local(bus) => {
                let status = Status { connected_to: Some("this process".to_owned()), ..Status::default() };
                (watch::channel(status).1, tokio::spawn(self.in_process(bus)))
            }
        }
    }

    async fn over_network(self, mut connector: Connector) {
        let mut stopping = self.stopping.clone();
        loop {
            let connected = tokio::select! {
                connected = connector.connect() => connected,
                () = stop(&mut stopping) => return,
            };
            let over = tokio::select! {
                over = self.sessions(&connected.bus) => over,
                () = connected.lost() => Over::Lost,
            };
            self.told.send_replace(None);
            // The driver may have ended already; then nobody needs to know.
            let _ = self.commands.send(Command::Disconnected).await;
            if over == Over::Stopping {
                return;
            }
            tracing::warn!(orchestrator = connected.address, "connection to the orchestrator is lost");
        }
    }

    async fn in_process(self, bus: Arc<dyn Bus>) {
        while self.sessions(&bus).await != Over::Stopping {
            sleep(FIRST_PAUSE).await;
        }
    }

    /// Sessions on one connection, one after the other.
    async fn sessions(&self, bus: &Arc<dyn Bus>) -> Over {
        loop {
            let ended = self.session(bus).await;
            self.told.send_replace(None);
            match ended {
                Ok(Over::ShakeAgain) => tracing::info!("the orchestrator asks for a new handshake"),
                Ok(over) => return over,
                Err(error) => {
                    tracing::warn!(%error, "session with the orchestrator ended");
                    return Over::Lost;
                }
            }
        }
    }

    /// One handshake and what follows from it.
    async fn session(&self, bus: &Arc<dyn Bus>) -> Result<Over, BusError> {
        let node_id = &self.description.info.node_id;
        let inbox = bus.new_inbox();
        // Subscribed before the handshake, so that no message is missed.
        let mut messages = bus.subscribe(&subjects::messages(node_id)).await?;
        let mut answers = bus.subscribe(&format!("{inbox}.*")).await?;
        let control = ControlClient::new(Arc::clone(bus), node_id.clone());
        let mut stopping = self.stopping.clone();
        let info = tokio::select! {
            info = self.shake_hands(&control) => info,
            () = stop(&mut stopping) => return Ok(Over::Stopping),
        };
        let Some((info, progress)) = info else { return Ok(Over::Lost) };
        self.told.send_replace(Some(info.compute_node_info.execution_engines.clone()));
        let logs = LogServer::start(Arc::clone(bus), node_id, Arc::clone(&self.logs) as _).await?;
        let postman = Postman::start(Arc::clone(bus));
        let link = driver::Link { postman, ack_prefix: format!("{inbox}."), progress };
        if self.commands.send(Command::Connected(link)).await.is_err() {
            return Ok(Over::Stopping);
        }
        let over = tokio::select! {
            over = self.take(&mut messages, read_message) => over,
            over = self.take(&mut answers, read_answer) => over,
            over = self.stay_alive(&control, info) => over,
            () = stop(&mut stopping) => Over::Stopping,
        };
        if over == Over::Stopping {
            self.say_good_bye(&control).await;
        }
        logs.shutdown().await;
        Ok(over)
    }

    /// Introduces the node until it is welcome. Tells what it said of itself, and whether the orchestrator understands
    /// reports of progress. `None` when the connection does not carry.
    async fn shake_hands(&self, control: &ControlClient) -> Option<(NodeInfo, bool)> {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            let info = self.description.with_load(&load(&self.commands).await);
            let request = HandshakeRequest {
                node_info: info.clone(),
                start_time: self.started,
                last_orchestrator_seq_num: *self.last_processed.borrow(),
            };
            let trouble = match control.handshake(request).await {
                Ok(answer) if answer.accepted => {
                    tracing::info!(reason = answer.reason, "joined the orchestrator");
                    let progress =
                        answer.supported_protocols.iter().any(|name| name == protocol::EXECUTION_PROGRESS);
                    return Some((info, progress));
                }
                Ok(answer) => format!("the orchestrator does not accept this node: {}", answer.reason),
                Err(ControlError::Bus(BusError::Closed)) => return None,
                Err(error) => error.to_string(),
            };
            if trouble != told {
                tracing::warn!("{trouble} (trying again, at least every {} s)", LONGEST_PAUSE.as_secs());
                told = trouble;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Moves what arrives to the driver.
    async fn take(&self, from: &mut Subscription, read: fn(BusMessage) -> Option<Command>) -> Over {
        while let Some(message) = from.next().await {
            if let Some(command) = read(message)
                && self.commands.send(command).await.is_err()
            {
                return Over::Stopping;
            }
        }
        Over::Lost
    }

    /// Sends heartbeats, and the node's description when it changed.
    async fn stay_alive(&self, control: &ControlClient, mut told: NodeInfo) -> Over {
        let mut heartbeats = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        let mut looks = interval_at(Instant::now() + self.info_update, self.info_update);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        let mut engines = self.description.executor.watch_engines();
        // They may have changed since the handshake.
        engines.mark_changed();
        loop {
            let result = tokio::select! {
                _ = heartbeats.tick() => self.send_heartbeat(control).await,
                // An error means that the executor is gone, and with it the node.
                Ok(()) = engines.changed() => self.send_changes(control, &mut told).await,
                _ = looks.tick() => self.send_changes(control, &mut told).await,
            };
            match result {
                Ok(()) => missed = 0,
                Err(ControlError::HandshakeRequired(_)) => return Over::ShakeAgain,
                Err(error) => {
                    missed += 1;
                    tracing::warn!(%error, missed, "heartbeat failed");
                    if missed >= MOST_MISSED {
                        return Over::Lost;
                    }
                }
            }
        }
    }

    async fn send_heartbeat(&self, control: &ControlClient) -> Result<(), ControlError> {
        let load = load(&self.commands).await;
        let request = HeartbeatRequest {
            node_id: self.description.info.node_id.clone(),
            available_capacity: load.available,
            queue_used_capacity: load.queued,
            last_orchestrator_seq_num: *self.last_processed.borrow(),
        };
        control.heartbeat(request).await.map(drop)
    }

    async fn send_changes(&self, control: &ControlClient, told: &mut NodeInfo) -> Result<(), ControlError> {
        // Load is the business of heartbeats, so it does not count as a change here.
        let now = self.description.with_load(&load(&self.commands).await);
        let fixed = |info: &NodeInfo| {
            let compute = &info.compute_node_info;
            let engines = (compute.execution_engines.clone(), compute.engine_versions.clone());
            let offer = (engines, compute.publishers.clone());
            (offer, compute.storage_sources.clone(), compute.max_capacity.clone(), info.labels.clone())
        };
        if fixed(&now) == fixed(told) {
            return Ok(());
        }
        control.update_info(UpdateNodeInfoRequest { node_info: now.clone() }).await?;
        self.told.send_replace(Some(now.compute_node_info.execution_engines.clone()));
        *told = now;
        Ok(())
    }

    async fn say_good_bye(&self, control: &ControlClient) {
        let request = ShutdownNoticeRequest {
            node_id: self.description.info.node_id.clone(),
            reason: String::new(),
            last_orchestrator_seq_num: *self.last_processed.borrow(),
            tasks_go_on: self.lasting.as_ref().map(|lasting| lasting.list(MOST_NAMED)).unwrap_or_default(),
        };
        if let Err(error) = control.shutdown_notice(request).await {
            tracing::debug!(%error, "the good-bye did not reach the orchestrator");
        }
    }
}

fn read_message(message: BusMessage) -> Option<Command> {
    let reply_to = message.reply;
    Some(match data::from_orchestrator(&message.payload) {
        Ok(incoming) => Command::Message { message: Box::new(incoming.message), seq: incoming.seq, reply_to },
        Err(error) => {
            tracing::warn!(%error, "message of the orchestrator dropped");
            Command::Unreadable { reply_to }
        }
    })
}

/// The last token of the subject is the number of the report, as the driver made it.
fn read_answer(message: BusMessage) -> Option<Command> {
    let (_, seq) = message.subject.rsplit_once('.')?;
    let result = data::check_ack(message.status, &message.payload);
    Some(Command::Answered { seq: seq.parse().ok()?, result })
}

/// Completes when the node stops.
async fn stop(stopping: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across other awaits, so it ends here.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
