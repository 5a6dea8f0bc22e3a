//! What monitoring asks the loop thread, and the copies it gets. Each question is about a bounded part of a table, so
//! that traffic waits for microseconds only; whoever wants all of it asks again from where the last answer ended.
//! Between two answers the table may change: a listing is exact for whatever was there all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::events::CloseReason;
use crate::fabric::Ledger;
use crate::peer::Traffic;
use crate::router::Interest;

/// A question about a table from `from` on.
pub(crate) struct Ask<T> {
    /// 0, or `next` of the answer before.
    pub(crate) from: u64,
    /// Nobody waits for the answer any more: then it is dropped.
    pub(crate) reply: oneshot::Sender<Page<T>>,
}

/// A part of a table.
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    /// Where to go on; `None`: this was the end.
    pub(crate) next: Option<u64>,
}

/// What the loop thread can be asked.
pub(crate) enum Question {
    /// Does the loop turn?
    Alive(oneshot::Sender<()>),
    /// Connections that are open.
    Open(Ask<ConnRow>),
    /// Connections that were, oldest first.
    Closed(Ask<ConnRow>),
    Subscriptions(Ask<SubRow>),
    Accounts(Ask<AccountRow>),
}

/// A socket connection.
#[derive(Clone)]
pub(crate) struct ConnRow {
    pub(crate) cid: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) account: Arc<str>,
    /// Whom it has proved to be; empty if it had nothing to prove.
    pub(crate) user: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) lang: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) start: Instant,
    pub(crate) rtt: Option<Duration>,
    pub(crate) traffic: Traffic,
    /// Bytes that wait to be written to it.
    pub(crate) pending: u64,
    pub(crate) subscriptions: u64,
    /// When and why it ended.
    pub(crate) end: Option<(Instant, CloseReason)>,
}

/// A subscription of a socket or of a local client.
pub(crate) struct SubRow {
    /// 0 for local clients, which have no number.
    pub(crate) cid: u64,
    pub(crate) account: Arc<str>,
    pub(crate) subject: Box<[u8]>,
    pub(crate) queue: Option<Box<[u8]>>,
    /// The client's own id.
    pub(crate) sid: Box<[u8]>,
    pub(crate) delivered: u64,
    /// Ends after so many; 0: never.
    pub(crate) max: u64,
}

/// An account and its interest.
pub(crate) struct AccountRow {
    pub(crate) name: Arc<str>,
    /// The name for people; the same, but in operator mode.
    pub(crate) label: Arc<str>,
    pub(crate) interest: Interest,
    pub(crate) figures: AccountFigures,
}

/// What an account does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AccountFigures {
    pub(crate) connections: u64,
    pub(crate) ledger: Ledger,
}
