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
mod crash;
mod credentials;
mod devstack;
mod encrypted;
mod events;
mod expectations;
mod fake;
mod heal;
mod lifecycles;
mod main_job;
mod node;
mod offline;
mod restarts;
mod retention;
mod schedules;
