//! Runs executions through the real executor: real guests, real files, real HTTP on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)] // tests

mod cgroups;
mod downloads;
mod egress;
mod exec;
mod files;
mod guests;
mod inputs;
mod logs;
mod modules;
mod publishing;
mod support;
