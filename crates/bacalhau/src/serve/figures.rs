//! Figures of the embedded NATS server for Prometheus.

use bacalhau_api::server::{Exposition, Figures, Kind};
use bacalhau_nats_server::{Server, Stats};
use std::sync::Arc;

/// What `/metrics` says of the server.
pub(super) fn of_server(server: &Arc<Server>) -> Figures {
    let server = Arc::clone(server);
    Arc::new(move |text| write(&server.stats(), text))
}

fn write(stats: &Stats, text: &mut Exposition) {
    text.family("bacalhau_nats_connections", Kind::Gauge, "Connections to the embedded NATS server.");
    text.whole(&[], stats.connections);
    text.family("bacalhau_nats_connections_total", Kind::Counter, "Connections that were accepted.");
    text.whole(&[], stats.total_connections);
    text.family(
        "bacalhau_nats_subscriptions",
        Kind::Gauge,
        "Subscriptions, those of the orchestrator included.",
    );
    text.whole(&[], stats.subscriptions);
    for (name, help, received, sent) in [
        (
            "bacalhau_nats_messages_total",
            "Messages of publishers and to subscribers.",
            stats.in_msgs,
            stats.out_msgs,
        ),
        (
            "bacalhau_nats_bytes_total",
            "Bytes of publishers and to subscribers.",
            stats.in_bytes,
            stats.out_bytes,
        ),
    ] {
        text.family(name, Kind::Counter, help);
        text.whole(&[("direction", "in")], received);
        text.whole(&[("direction", "out")], sent);
    }
    let name = "bacalhau_nats_connections_closed_total";
    text.family(name, Kind::Counter, "Connections that the server closed or refused, by its reason.");
    for (reason, count) in [
        ("slow_consumer", stats.slow_consumers),
        ("stale", stats.stale_connections),
        ("authentication", stats.auth_failures),
        ("tls", stats.tls_failures),
        ("too_many", stats.refused_connections),
        ("protocol", stats.protocol_errors),
    ] {
        text.whole(&[("reason", reason)], count);
    }
}
