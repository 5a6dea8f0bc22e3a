//! Deterministic simulation of a whole cluster: one orchestrator core, several compute cores, and between them a
//! network that drops, delays, duplicates, reorders and cuts, under virtual time, with clocks that differ and jump,
//! disks that are slow or lost, and crashes of either side at every point of a commit.
//!
//! The cores are the real ones; their stores are models that lose what was not committed when a host crashes.
//! Everything is decided by a seed, so a failing run is repeated by its number ([`run`]). What must always hold is
//! named in [`invariants`]. [`Bug`] puts known mistakes into the shells around the cores, to show that they are found.

mod bugs;
mod clock;
mod cluster;
mod compute;
mod disk;
mod faults;
mod goal;
pub mod invariants;
mod network;
mod orchestrator;
mod pipeline;
mod trace;
mod workload;

pub use bugs::Bug;
pub use cluster::{Report, Scenario, run};
pub use faults::{CrashPoint, Host};
pub use trace::Failure;

/// Nanoseconds in a millisecond.
pub(crate) const MS: i64 = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000 * MS;
/// Nanoseconds in a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
