//! The API over real sockets, in front of a made-up cluster and, in [`cluster`], of a real one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are test code, which the lints only recognise inside test functions"
)]

mod abuse;
mod cluster;
mod events;
mod fake;
mod golden;
mod history;
mod jobs;
mod logs;
mod logs_all;
#[path = "../../../wire/tests/support/ports.rs"]
mod ports;
mod recording;
mod support;
mod surface;
mod users;
