//! What a well-behaved client feels, and what the server needs, while a thousand others attack it; and how long five
//! thousand clients need to come back at once.
//!
//! The Go server is `$NATS_SERVER_BIN`, or `nats-server` on the path; without one only this server is measured.
//!
//!     cargo bench --package bacalhau-nats-server --bench hardship
//!     cargo bench --package bacalhau-nats-server --bench hardship -- --seconds 10 --attackers 1000 --clients 5000
//!
//! `--only NAME`, with a name from the table, runs that attack alone.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a bench prints its figures, rounds them, and its tables have the size that it gave them"
)]

mod attack;
mod probe;
mod storm;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;
use support::servers::Program;
use support::{Outcome, crowd};

fn main() -> Outcome<()> {
    crowd::allow_many_files()?;
    let seconds = Duration::from_secs(argument("--seconds", 5)?);
    let attackers = usize::try_from(argument("--attackers", 1_000)?)?;
    let clients = usize::try_from(argument("--clients", 5_000)?)?;
    let only = text("--only");
    let programs = std::iter::once(Program::own()).chain(Program::original());
    for program in programs {
        println!("{}", program.name);
        // A thread of its own: it binds itself to processors, and the storm may use all.
        std::thread::scope(|scope| {
            let run = || attack::run(&program, attackers, seconds, only.as_deref());
            scope.spawn(run).join().map_err(|_| "the attack panicked")?
        })?;
        if only.is_none() {
            storm::run(&program, clients)?;
        }
    }
    Ok(())
}

fn text(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// `NAME N`; whatever else Cargo passes on is not for us.
fn argument(name: &str, usual: u64) -> Outcome<u64> {
    text(name).map_or(Ok(usual), |text| {
        text.parse().map_err(|_| format!("{name} takes a number, not {text:?}").into())
    })
}
