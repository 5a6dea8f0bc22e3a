//! Runs executions through the real executor: real guests, real files, real HTTP on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)] // tests

mod downloads;
mod egress;
mod files;
mod guests;
mod inputs;
mod logs;
mod modules;
mod oci;
mod publishing;
mod support;
#[path = "../../../images/tests/support/registry.rs"]
#[allow(dead_code)] // shared with another crate
mod test_registry;
