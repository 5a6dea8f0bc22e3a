//! The real binary, run as people run it.

// Helpers of tests may panic as tests may; clippy only knows that of functions marked as tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod bin;
mod client;
mod cluster;
mod containers;
mod crash;
mod credentials;
mod devstack;
mod docker;
mod encrypted;
mod events;
mod exec;
mod expectations;
mod fake;
mod full_disk;
mod heal;
mod lifecycles;
mod logs;
mod main_job;
mod node;
mod offline;
mod restarts;
mod retention;
mod schedules;
#[path = "../../../images/tests/support/registry.rs"]
#[allow(dead_code)] // shared with other crates
mod test_registry;
mod wasm;
mod wasm_bounds;
mod wasm_guests;
