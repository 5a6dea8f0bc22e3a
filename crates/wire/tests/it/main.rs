//! Integration tests: recorded traffic of the original, and both sides over real NATS servers.
//!
//! Every test over a server runs against the embedded one and, when `NATS_SERVER_BIN` names the binary of the
//! original NATS server, against that too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers may fail like the test, and say what is skipped"
)]
#![allow(clippy::result_large_err, reason = "the house error has 128 bytes, exactly the lint's limit")]

mod bus;
mod connect;
mod golden;
mod logs;
mod servers;
mod tls;
