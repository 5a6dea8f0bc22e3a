//! `/routez`, `/leafz`, `/gatewayz`, `/jsz`: what a NATS server says that has none of these.

use serde_json::{Value, json};

use super::State;

pub(super) fn routez(state: &State) -> Value {
    json!({
        "server_id": state.facts.server_id,
        "server_name": state.facts.server_name,
        "now": state.clock.now(),
        "num_routes": 0,
        "routes": [],
    })
}

pub(super) fn leafz(state: &State) -> Value {
    json!({ "server_id": state.facts.server_id, "now": state.clock.now(), "leafnodes": 0, "leafs": [] })
}

pub(super) fn gatewayz(state: &State) -> Value {
    json!({
        "server_id": state.facts.server_id,
        "now": state.clock.now(),
        "outbound_gateways": {},
        "inbound_gateways": {},
    })
}

pub(super) fn jsz(state: &State) -> Value {
    json!({
        "server_id": state.facts.server_id,
        "now": state.clock.now(),
        "disabled": true,
        "config": { "max_memory": 0, "max_storage": 0 },
        "memory": 0,
        "storage": 0,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "accounts": 0,
        "ha_assets": 0,
        "api": { "level": 0, "total": 0, "errors": 0 },
        "streams": 0,
        "consumers": 0,
        "messages": 0,
        "bytes": 0,
        "total": 0,
    })
}
