//! Times the orchestrator at the sizes it is made for, and prints each figure beside its goal.
//!
//! `cargo bench --package bacalhau-orchestrator --bench scale` runs everything; `-- decisions durable` only those. Each
//! part runs in a process of its own, so that memory and processor time are its own.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod cluster;
mod daemons;
mod decisions;
mod durable;
mod heartbeats;
mod jobs;
mod loss;
mod measure;
mod queued;
mod restart;
mod socket;

/// Name of a part, and what runs it.
const PARTS: [(&str, fn()); 8] = [
    ("decisions", decisions::run),
    ("daemons", daemons::run),
    ("queued", queued::run),
    ("restart", restart::run),
    ("durable", durable::run),
    ("loss", loss::run),
    ("heartbeats", heartbeats::run),
    ("server", cluster::serve),
];

/// Set for the process of one part.
const INSIDE: &str = "BACALHAU_BENCH_PART";

fn main() {
    if let Ok(part) = std::env::var(INSIDE) {
        let (_, run) = PARTS.iter().find(|(name, _)| *name == part).expect("no such part");
        run();
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average before: {}", load.trim());
    for (name, _) in PARTS.iter().filter(|(name, _)| *name != "server") {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            let status = part(name).status().expect("a part cannot be started");
            assert!(status.success(), "{name} failed");
        }
    }
}

/// This program again, for one part.
fn part(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("own path"));
    command.env(INSIDE, name);
    command
}
