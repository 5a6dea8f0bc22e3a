//! Deterministic simulation of a whole cluster: one orchestrator core, several compute cores, and between them a
//! network that drops, delays, duplicates, reorders and cuts, under virtual time, with crashes of either side.
//!
//! The cores are the real ones; their stores are models that lose what was not committed when a host crashes.
//! Everything is decided by a seed, so a failing run is repeated by its number ([`run`]). What must always hold is
//! named in [`invariants`].

mod cluster;
mod compute;
mod disk;
mod faults;
pub mod invariants;
mod network;
mod orchestrator;
mod workload;

pub use cluster::{Report, Scenario, run};

/// Nanoseconds in a millisecond.
pub(crate) const MS: i64 = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000 * MS;
