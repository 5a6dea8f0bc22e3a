//! What crosses NATS between orchestrator and compute node.
//!
//! Subjects, the envelope and the messages inside it, numbered delivery, the handshake, heartbeats and log
//! streams: byte for byte the protocol `ncl/v1` of Bacalhau 1.9, so that its nodes and orchestrators take part.
//! Everything reaches NATS through one small door, [`bus::Bus`].
//!
//! Nothing here decides what a message means for a job: that is for the cores of orchestrator and compute node.

pub mod data;
pub mod delivery;
pub mod envelope;
pub mod headers;
pub mod messages;
pub mod metadata;
pub mod subjects;
