//! The server seen from outside: in-process client, public clients, raw bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the helpers of tests are test code, which the lints only recognise inside test functions"
)]

mod certs;
mod clients;
#[path = "../../benches/support/mod.rs"]
mod clients_of_benches;
mod conf;
mod differential;
mod foreign;
mod generated;
mod hostile;
mod jwt;
mod limits;
mod local;
mod monitor;
#[path = "../../../wire/tests/support/ports.rs"]
mod ports;
mod program;
mod reload;
mod reload_generated;
mod reload_jwt;
mod reload_library;
mod sharing;
mod support;
mod system;
mod tls;
mod unsupported;
mod users;
mod websocket;
mod wire;
mod world;
