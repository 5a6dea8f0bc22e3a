//! Supervisors as a program of their own, for tests that do not have the `bacalhau` binary.

use bacalhau_compute::engines::{exec, supervisor};

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(supervisor::ARGUMENT) => supervisor::supervise(),
        _ => exec::supervise(),
    }
}
