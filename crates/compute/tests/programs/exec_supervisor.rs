//! The supervisor of `exec` tasks as a program of its own, for tests that do not have the `bacalhau` binary.

fn main() -> std::process::ExitCode {
    bacalhau_compute::engines::exec::supervise()
}
