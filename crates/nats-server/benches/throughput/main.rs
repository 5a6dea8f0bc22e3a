//! Throughput of this server beside that of the Go server, in the same minutes on the same machine.
//!
//! Prints medians of interleaved rounds and their ratio. The Go server is `$NATS_SERVER_BIN`, or `nats-server` on the
//! path; without one only this server is measured, and that is said.
//!
//!     cargo bench --package bacalhau-nats-server --bench throughput -- --rounds 5
//!
//! `--only TEXT` runs the lines of the table whose name contains it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a bench prints its figures, rounds them, and its tables have the size that it gave them"
)]

mod encrypted;
mod neighbours;
mod request;
#[path = "../support/mod.rs"]
mod support;
mod workload;

use encrypted::Encrypted;
use support::Outcome;
use support::client::Connection;
use support::servers::{Process, Program};
use workload::{Servers, WORKLOADS};

const DEFAULT_ROUNDS: usize = 5;
/// Connections that do nothing.
const IDLE: usize = 2_000;

fn main() -> Outcome<()> {
    support::crowd::allow_many_files()?;
    let rounds = rounds()?;
    let only = argument("--only");
    let mut programs = vec![Program::own()];
    match Program::original() {
        Some(original) => programs.push(original),
        None => println!("no Go nats-server found (set NATS_SERVER_BIN): measuring this server only\n"),
    }
    // figures[what][program] holds one figure per round.
    let mut figures = vec![vec![Vec::new(); programs.len()]; WORKLOADS.len() + 2];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (which, program) in programs.iter().enumerate() {
            let plain = Process::start(program)?;
            let idle = plain.resident_mib()?;
            figures[WORKLOADS.len()][which].push(idle);
            figures[WORKLOADS.len() + 1][which].push(per_connection(&plain, idle)?);
            let servers = Servers { plain, encrypted: Encrypted::start(program)? };
            let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only));
            for (what, workload) in WORKLOADS.iter().enumerate().filter(|(_, w)| wanted(w.name)) {
                figures[what][which].push(workload.run(&servers)?);
            }
        }
    }
    let names =
        WORKLOADS.iter().map(|w| w.name).chain(["resident, idle, MiB", "resident, per connection, KiB"]);
    print_table(&programs, names.zip(figures));
    Ok(())
}

/// KiB that each of many idle connections takes.
fn per_connection(server: &Process, idle: f64) -> Outcome<f64> {
    let open = (0..IDLE).map(|_| Connection::open(server.address())).collect::<Outcome<Vec<_>>>()?;
    Ok((server.resident_mib()? - idle) * 1024.0 / open.len() as f64)
}

/// What follows `name`; whatever else Cargo passes on is not for us.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn rounds() -> Outcome<usize> {
    argument("--rounds").map_or(Ok(DEFAULT_ROUNDS), |text| {
        text.parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("--rounds takes a number, not {text:?}").into())
    })
}

fn print_table<'a>(programs: &[Program], rows: impl Iterator<Item = (&'a str, Vec<Vec<f64>>)>) {
    print!("{:34}", "");
    programs.iter().for_each(|program| print!("{:>16}", program.name));
    println!("{:>10}", if programs.len() > 1 { "ratio" } else { "" });
    for (name, figures) in rows.filter(|(_, figures)| figures.iter().all(|rounds| !rounds.is_empty())) {
        let medians: Vec<f64> = figures.into_iter().map(median).collect();
        print!("{name:34}");
        medians.iter().for_each(|figure| print!("{:>16}", shown(*figure)));
        match medians[..] {
            [own, original] => println!("{:>10.2}", own / original),
            _ => println!(),
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn shown(figure: f64) -> String {
    if figure >= 1_000.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}
