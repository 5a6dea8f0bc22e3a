//! Hostile connections of each kind, and all kinds together. Attackers have a processor, server and client the others; what
//! of the wait is the machine's shows the same request to a second server, which nobody attacks (`beside`).

use super::Outcome;
use super::probe::Probe;
use super::support::attackers::{Attacker, KINDS, Kind};
use super::support::crowd::Crowd;
use super::support::processors::Processors;
use super::support::servers::{Process, Program};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Attacks until told to stop; how many connections the server ended.
fn attack(address: std::net::SocketAddr, kinds: &[Kind], count: usize, stop: &AtomicBool) -> Outcome<u64> {
    let attacker = |number: usize| Attacker::new(kinds[number % kinds.len()], number);
    let mut crowd = Crowd::new(address, (0..count).map(attacker).collect())?;
    while !stop.load(Ordering::Relaxed) {
        crowd.turn(Duration::from_millis(5))?;
        crowd.prompt()?;
    }
    Ok(crowd.ended)
}

/// Keeps the calling thread, and the servers that it starts, off the attackers' processor for good.
pub fn run(program: &Program, attackers: usize, time: Duration, only: Option<&str>) -> Outcome<()> {
    let processors = Processors::split()?;
    processors.measure_here()?;
    println!(
        "  {:14}{:>8}{:>8}{:>8}{:>8}{:>8}{:>12}{:>10}{:>10}{:>8}",
        "attackers",
        "p50 us",
        "p99 us",
        "max us",
        "p50 /q",
        "p99 /q",
        "beside us",
        "peak MiB",
        "after MiB",
        "ended"
    );
    let all: Vec<(String, Vec<Kind>)> = KINDS
        .iter()
        .map(|kind| (format!("{kind:?}"), vec![*kind]))
        .chain([
            ("flood".to_owned(), vec![Kind::NeverReads, Kind::Publishes]),
            ("all kinds".to_owned(), KINDS.to_vec()),
        ])
        .filter(|(name, _)| only.is_none_or(|only| name == only))
        .collect();
    for (name, kinds) in all {
        let (server, idle) = (Process::start(program)?, Process::start(program)?);
        let mut probe = Probe::open(server.address())?;
        let mut probe_beside = Probe::open(idle.address())?;
        let quiet = probe.measure(Duration::from_secs(2))?;
        let (stop, peak) = (AtomicBool::new(false), AtomicU64::new(0));
        let (under, beside, ended) = std::thread::scope(|scope| -> Outcome<_> {
            let attack = scope.spawn(|| {
                processors.attack_here()?;
                attack(server.address(), &kinds, attackers, &stop)
            });
            let watch = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let now = server.resident_mib().unwrap_or(0.0) as u64;
                    peak.fetch_max(now, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let under = probe.measure(time);
            let beside = probe_beside.measure(time / 2);
            stop.store(true, Ordering::Relaxed);
            let ended = attack.join().map_err(|_| "the attack panicked")?;
            watch.join().map_err(|_| "the watch panicked")?;
            Ok((under?, beside?, ended?))
        })?;
        // All attackers are gone: the server needs a moment to notice.
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            probe.measure(Duration::from_millis(100))?;
        }
        println!(
            "  {name:14}{:>8.0}{:>8.0}{:>8.0}{:>8.1}{:>8.1}{:>12.0}{:>10}{:>10.0}{:>8}",
            under.p50,
            under.p99,
            under.max,
            under.p50 / quiet.p50,
            under.p99 / quiet.p99,
            beside.p50,
            peak.load(Ordering::Relaxed),
            server.resident_mib()?,
            ended,
        );
        if under.requests < 100 {
            println!("    only {} requests were answered", under.requests);
        }
    }
    Ok(())
}
