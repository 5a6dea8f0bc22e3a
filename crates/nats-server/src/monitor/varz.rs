//! `/varz`: the settings that may be known, and the counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::State;
use super::{process, text};
use crate::hub::lock;
use crate::options::Options;
use crate::proto::info::COMPATIBLE_VERSION;

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What stays the same until the settings are reloaded. Settings are named one by one, so that a new one is not shown unless
/// somebody has thought about whether it may be.
#[derive(Clone, Serialize)]
pub(super) struct Facts {
    pub(super) server_id: Arc<str>,
    pub(super) server_name: Arc<str>,
    version: &'static str,
    proto: u8,
    // Tools expect the key; there is no Go version to tell.
    go: &'static str,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    max_connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_subscriptions: Option<usize>,
    /// Nanoseconds.
    ping_interval: u128,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    pub(super) http_base_path: String,
    https_port: u16,
    /// Seconds.
    auth_timeout: Whole,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Nothing,
    gateway: Nothing,
    leaf: Nothing,
    mqtt: Nothing,
    websocket: Value,
    jetstream: Nothing,
    /// Seconds.
    tls_timeout: Whole,
    /// Nanoseconds.
    write_deadline: u128,
    start: String,
    config_load_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_account: Option<Arc<str>>,
}

/// A feature that is not there.
#[derive(Clone, Serialize)]
struct Nothing {}

/// A number that is written without a fraction if it has none, as Go does.
#[derive(Clone)]
pub(super) struct Whole(pub(super) f64);

impl Serialize for Whole {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl Facts {
    pub(super) fn new(
        options: &Options,
        (server_id, server_name): (Arc<str>, Arc<str>),
        port: u16,
        http_port: u16,
        start: String,
        config_load_time: String,
        system_account: Option<Arc<str>>,
    ) -> Facts {
        let (tls, monitor) = (options.tls.as_ref(), options.monitor.clone().unwrap_or_default());
        let tls_timeout = tls.map_or(2.0, |tls| tls.timeout.as_secs_f64());
        Facts {
            server_id,
            server_name,
            version: COMPATIBLE_VERSION,
            proto: 1,
            go: "",
            host: options.host.clone(),
            port,
            auth_required: options.auth_required() || options.operator.is_some(),
            tls_required: tls.is_some_and(|tls| !tls.allow_non_tls),
            tls_verify: tls.is_some_and(|tls| tls.verify || tls.verify_and_map),
            max_connections: options.max_connections,
            max_subscriptions: Some(options.max_subscriptions).filter(|max| *max > 0),
            ping_interval: options.ping_interval.as_nanos(),
            ping_max: options.ping_max,
            http_host: monitor.host,
            http_port,
            http_base_path: monitor.base_path,
            https_port: 0,
            auth_timeout: Whole(options.auth_timeout.as_secs_f64()),
            max_control_line: options.max_control_line,
            max_payload: options.max_payload,
            max_pending: options.max_pending,
            cluster: Nothing {},
            gateway: Nothing {},
            leaf: Nothing {},
            mqtt: Nothing {},
            websocket: options
                .websocket
                .as_ref()
                .map_or_else(|| json!({}), |ws| json!({ "host": ws.host, "port": ws.port })),
            jetstream: Nothing {},
            tls_timeout: Whole(tls_timeout),
            write_deadline: options.write_deadline.as_nanos(),
            config_load_time,
            start,
            system_account,
        }
    }

    /// After a reload.
    pub(super) fn renewed(&self, options: &Options, load_time: String) -> Facts {
        let identity = (self.server_id.clone(), self.server_name.clone());
        let (start, system) = (self.start.clone(), self.system_account.clone());
        Facts::new(options, identity, self.port, self.http_port, start, load_time, system)
    }
}

/// Events by kind of connection; there are only clients.
#[derive(Serialize)]
struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    fn clients(clients: u64) -> ByKind {
        ByKind { clients, routes: 0, gateways: 0, leafs: 0 }
    }
}

#[derive(Serialize)]
pub(super) struct Varz {
    #[serde(flatten)]
    facts: Arc<Facts>,
    now: String,
    uptime: String,
    mem: u64,
    cores: usize,
    cpu: Whole,
    connections: u64,
    total_connections: u64,
    routes: u64,
    remotes: u64,
    leafnodes: u64,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    slow_consumer_stats: ByKind,
    stale_connections: u64,
    stale_connection_stats: ByKind,
    stalled_clients: u64,
    subscriptions: u64,
    http_req_stats: BTreeMap<&'static str, u64>,
    // Of this server alone.
    auth_failures: u64,
    refused_connections: u64,
    protocol_errors: u64,
    local_clients: u64,
    local_overflows: u64,
}

/// The answer of now.
pub(super) fn varz(state: &State) -> Varz {
    let stats = state.hub.stats.snapshot();
    Varz {
        facts: lock(&state.shown).clone(),
        now: state.clock.now(),
        uptime: text::long(state.clock.uptime()),
        mem: process::resident(),
        cores: process::cores(),
        cpu: Whole(state.meter.percent()),
        connections: stats.connections,
        total_connections: stats.total_connections,
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: stats.in_msgs,
        in_bytes: stats.in_bytes,
        in_client_msgs: stats.in_msgs,
        in_client_bytes: stats.in_bytes,
        out_msgs: stats.out_msgs,
        out_bytes: stats.out_bytes,
        out_client_msgs: stats.out_msgs,
        out_client_bytes: stats.out_bytes,
        slow_consumers: stats.slow_consumers,
        slow_consumer_stats: ByKind::clients(stats.slow_consumers),
        stale_connections: stats.stale_connections,
        stale_connection_stats: ByKind::clients(stats.stale_connections),
        stalled_clients: stats.stalls,
        subscriptions: stats.subscriptions,
        http_req_stats: state.counts.seen(),
        auth_failures: stats.auth_failures,
        refused_connections: stats.refused_connections,
        protocol_errors: stats.protocol_errors,
        local_clients: stats.local_clients,
        local_overflows: stats.local_overflows,
    }
}
