//! What crosses NATS between orchestrator and compute node.
//!
//! Subjects, the envelope and the messages inside it, numbered delivery, the handshake, heartbeats and log
//! streams: byte for byte the protocol `ncl/v1` of Bacalhau 1.9, so that its nodes and orchestrators take part.
//! Everything reaches NATS through one small door, [`bus::Bus`].
//!
//! Nothing here decides what a message means for a job: that is for the cores of orchestrator and compute node.

#![allow(
    clippy::result_large_err,
    reason = "the house error has 128 bytes, exactly the lint's limit, and errors are not on any hot path"
)]

pub mod address;
pub mod bus;
pub mod bus_client;
pub mod bus_local;
pub mod connect;
pub mod control;
pub mod credentials;
pub mod data;
pub mod delivery;
pub mod envelope;
pub mod headers;
pub mod inbox;
pub mod logs;
pub mod messages;
pub mod metadata;
mod pool;
pub mod postman;
mod requests;
pub mod subjects;
#[cfg(test)]
mod testing;
pub mod throttle;
mod tls_trouble;

/// The present in nanoseconds since 1970, for metadata that the shells write.
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
