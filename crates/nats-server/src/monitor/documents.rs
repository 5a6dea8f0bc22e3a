//! The documents of monitoring for those who do not ask over HTTP.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::failure::Failure;
use super::params::Params;
use super::rows::{AccountFigures, Question};
use crate::system::Said;

use super::{State, accountz, connz, nothing, process, subsz, varz};

/// How long a listing may wait until others have been made.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Varz,
    Connz,
    Subsz,
    Accountz,
    Routez,
    Gatewayz,
    Leafz,
    Jsz,
    /// The figures of one account.
    AccountDetail,
}

#[derive(Clone, Copy, Serialize)]
struct Count {
    msgs: u64,
    bytes: u64,
}

/// The figures that servers tell regularly.
#[derive(Serialize)]
struct Statsz {
    start: String,
    mem: u64,
    cores: usize,
    cpu: varz::Whole,
    connections: u64,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: u64,
    sent: Count,
    sent_to_clients: Count,
    received: Count,
    received_from_clients: Count,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_clients: Option<u64>,
    active_servers: u64,
}

/// An account and what it does.
pub(crate) struct AccountLine {
    pub(crate) account: std::sync::Arc<str>,
    pub(crate) label: std::sync::Arc<str>,
    pub(crate) subscriptions: u64,
    pub(crate) figures: AccountFigures,
}

impl State {
    /// Makes a document. The text of an error is for whoever asked.
    ///
    /// # Errors
    /// For parameters that make no sense, and if the loop does not answer.
    pub(crate) async fn document(&self, document: Document, params: &Params) -> Result<Vec<u8>, String> {
        let _turn = match document {
            Document::Connz | Document::Subsz | Document::Accountz | Document::AccountDetail => {
                let turn = timeout(QUEUE_TIMEOUT, self.listings.clone().acquire_owned()).await;
                Some(turn.map_err(|_| "too many listings at one time; try again later".to_owned())?)
            }
            _ => None,
        };
        let text = |failure: Failure| failure.text;
        match document {
            Document::Varz => value(varz::varz(self)),
            Document::Connz => value(connz::connz(self, params).await.map_err(text)?),
            Document::Subsz => value(subsz::subsz(self, params).await.map_err(text)?),
            Document::Accountz => value(accountz::accountz(self, params).await.map_err(text)?),
            Document::AccountDetail => {
                value(accountz::accountz(self, params).await.map_err(text)?.account_detail)
            }
            Document::Routez => value(nothing::routez(self)),
            Document::Gatewayz => value(nothing::gatewayz(self)),
            Document::Leafz => value(nothing::leafz(self)),
            Document::Jsz => value(nothing::jsz(self)),
        }
    }

    /// What each account does.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub(crate) async fn account_lines(&self) -> Result<Vec<AccountLine>, String> {
        let mut lines = Vec::new();
        let walk = self.walk(Question::Accounts, |row| {
            lines.push(AccountLine {
                account: row.name,
                label: row.label,
                subscriptions: row.interest.subscriptions,
                figures: row.figures,
            });
        });
        walk.await.map_err(|failure| failure.text)?;
        Ok(lines)
    }

    /// The figures that servers tell regularly.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub(crate) async fn statsz(&self) -> Result<Vec<u8>, String> {
        let lines = self.account_lines().await?;
        let active = lines.iter().filter(|line| line.figures.connections > 0 || line.subscriptions > 0);
        let active_accounts = active.count();
        let stats = self.hub.stats.snapshot();
        let sent = Count { msgs: stats.out_msgs, bytes: stats.out_bytes };
        let received = Count { msgs: stats.in_msgs, bytes: stats.in_bytes };
        value(Statsz {
            start: self.clock.started(),
            mem: process::resident(),
            cores: process::cores(),
            cpu: varz::Whole(self.meter.percent()),
            connections: stats.connections,
            total_connections: stats.total_connections,
            active_accounts,
            subscriptions: stats.subscriptions,
            sent,
            sent_to_clients: sent,
            received,
            received_from_clients: received,
            slow_consumers: stats.slow_consumers,
            stale_connections: Some(stats.stale_connections).filter(|count| *count > 0),
            stalled_clients: Some(stats.stalls).filter(|count| *count > 0),
            active_servers: 1,
        })
    }

    /// The time, as documents tell it.
    pub(crate) fn time(&self) -> String {
        self.clock.now()
    }

    /// Of a moment.
    pub(crate) fn time_of(&self, instant: std::time::Instant) -> String {
        self.clock.at(instant)
    }

    /// Hands something to the loop to publish.
    pub(crate) fn say(&self, said: Said) {
        self.hub.say(said);
    }

    /// Waits until the loop has heard what it was told before.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub(crate) async fn heard(&self, patience: Duration) -> Result<(), String> {
        self.alive(patience).await.map_err(|failure| failure.text)
    }
}

fn value(document: impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&document).map_err(|error| format!("the answer cannot be written: {error}"))
}
