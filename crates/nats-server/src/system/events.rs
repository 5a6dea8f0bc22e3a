//! Events: connections that come and go, and how many an account has.

use std::time::Duration;

use serde::Serialize;

use crate::fabric::Ledger;
use crate::peer::Conn;
use crate::transport::Transport;

use super::server::{ServerBlock, Written, written};

/// Characters of the id of an event.
const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH: usize = 22;

/// What all events begin with.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: String,
    server: Written<'a>,
}

impl<'a> Head<'a> {
    fn new(block: &'a ServerBlock, time: String, kind: &'static str) -> Head<'a> {
        let id = (0..ID_LENGTH).filter_map(|_| fastrand::choice(ALPHABET)).map(|byte| char::from(*byte));
        Head { kind, id: id.collect(), timestamp: time.clone(), server: block.next(time) }
    }
}

/// A connection. What it offered to get in is never part of it.
#[derive(Serialize)]
struct Client<'a> {
    start: String,
    host: String,
    id: u64,
    acc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ver: &'a str,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_key: Option<&'a str>,
    name_tag: &'a str,
    kind: &'static str,
    client_type: &'static str,
}

impl<'a> Client<'a> {
    fn new(conn: &'a Conn, user: &'a str, start: String, acc: &'a str, name_tag: &'a str) -> Client<'a> {
        Client {
            start,
            host: conn.addr.ip().to_canonical().to_string(),
            id: conn.cid,
            acc,
            user,
            name: &conn.name,
            lang: &conn.lang,
            ver: &conn.version,
            rtt: None,
            stop: None,
            issuer_key: conn.pass.as_ref().map(|pass| pass.claims().iss.as_str()),
            name_tag,
            kind: "Client",
            client_type: match conn.transport {
                Transport::Web(_) => "websocket",
                _ => "nats",
            },
        }
    }
}

#[derive(Serialize)]
struct Count {
    msgs: u64,
    bytes: u64,
}

/// A client has logged in. `names`: its user, its account and the account's name for people.
pub(crate) fn connect(
    block: &ServerBlock,
    (time, start): (String, String),
    conn: &Conn,
    (user, account, label): (&str, &str, &str),
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        client: Client<'a>,
    }
    let head = Head::new(block, time, "io.nats.server.advisory.v1.client_connect");
    written(&Event { head, client: Client::new(conn, user, start, account, label) })
}

/// The end of a connection.
pub(crate) struct Disconnect<'a> {
    /// Its user, its account and the account's name for people.
    pub(crate) names: (&'a str, &'a str, &'a str),
    pub(crate) reason: String,
}

/// A connection has ended, or is refused.
pub(crate) fn disconnect(
    block: &ServerBlock,
    (time, start): (String, String),
    conn: &Conn,
    end: &Disconnect<'_>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        client: Client<'a>,
        sent: Count,
        received: Count,
        reason: &'a str,
    }
    let (user, account, label) = end.names;
    let mut client = Client::new(conn, user, start, account, label);
    client.rtt = conn.rtt.as_ref().map(Duration::as_nanos);
    client.stop = Some(time.clone());
    let traffic = &conn.traffic;
    written(&Event {
        head: Head::new(block, time, "io.nats.server.advisory.v1.client_disconnect"),
        client,
        sent: Count { msgs: traffic.out_msgs, bytes: traffic.out_bytes },
        received: Count { msgs: traffic.in_msgs, bytes: traffic.in_bytes },
        reason: &end.reason,
    })
}

/// What came from, or went to, all kinds of connections.
#[derive(Serialize)]
struct Traffic {
    msgs: u64,
    bytes: u64,
    gateways: Count,
    routes: Count,
    leafs: Count,
}

impl Traffic {
    fn of_clients(msgs: u64, bytes: u64) -> Traffic {
        let none = || Count { msgs: 0, bytes: 0 };
        Traffic { msgs, bytes, gateways: none(), routes: none(), leafs: none() }
    }
}

/// How many connections an account has, and what they do.
#[derive(Serialize)]
pub(crate) struct Conns {
    acc: String,
    name: String,
    conns: u64,
    leafnodes: u64,
    total_conns: u64,
    num_subscriptions: u64,
    sent: Traffic,
    received: Traffic,
    slow_consumers: u64,
}

impl Conns {
    pub(crate) fn new(account: &str, label: &str, conns: u64, subscriptions: u64, ledger: &Ledger) -> Conns {
        Conns {
            acc: account.to_owned(),
            name: label.to_owned(),
            conns,
            leafnodes: 0,
            total_conns: conns,
            num_subscriptions: subscriptions,
            sent: Traffic::of_clients(ledger.out_msgs, ledger.out_bytes),
            received: Traffic::of_clients(ledger.in_msgs, ledger.in_bytes),
            slow_consumers: ledger.slow_consumers,
        }
    }

    /// As an event.
    pub(crate) fn event(&self, block: &ServerBlock, time: String) -> Vec<u8> {
        #[derive(Serialize)]
        struct Event<'a> {
            #[serde(flatten)]
            head: Head<'a>,
            #[serde(flatten)]
            conns: &'a Conns,
        }
        let head = Head::new(block, time, "io.nats.server.advisory.v1.account_connections");
        written(&Event { head, conns: self })
    }
}
