//! Many clients lose their connections at once and come back.

use super::Outcome;
use super::support::client::Connection;
use super::support::crowd::Crowd;
use super::support::returning::Returning;
use super::support::servers::{Process, Program};
use std::time::{Duration, Instant};

/// Longest that all of them may take.
const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;

pub fn run(program: &Program, clients: usize) -> Outcome<()> {
    let server = Process::start(program)?;
    let idle = server.resident_mib()?;
    let mut crowd = Crowd::new(server.address(), (0..clients).map(Returning::new).collect())?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        if round > 0 {
            crowd.drop_all()?;
        }
        while !crowd.members().all(|client| client.served) {
            crowd.turn(Duration::from_millis(100))?;
            if start.elapsed() > PATIENCE {
                let served = crowd.members().filter(|client| client.served).count();
                return Err(
                    format!("only {served} of {clients} clients are served after {PATIENCE:?}").into()
                );
            }
        }
        took.push(start.elapsed().as_secs_f64());
        println!(
            "  storm {round}: {clients} clients served after {:.2} s, {:.1} MiB, {:.1} KiB per connection",
            took[round],
            server.resident_mib()?,
            (server.resident_mib()? - idle) * 1024.0 / clients as f64,
        );
    }
    drop(crowd);
    // The server needs a moment to notice, and serves on.
    std::thread::sleep(Duration::from_secs(1));
    Connection::open(server.address())?;
    println!("  all gone: {:.1} MiB (idle before: {idle:.1})\n", server.resident_mib()?);
    Ok(())
}
