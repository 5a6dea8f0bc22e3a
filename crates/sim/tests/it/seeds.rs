//! Thousands of clusters, or as many as one likes, with the faults of their seeds.
//!
//! `BACALHAU_SIM_SEED` repeats one seed with its last events; `BACALHAU_SIM_SEEDS` says how many seeds are run,
//! `BACALHAU_SIM_FROM` which one is first.

use bacalhau_sim::{Failure, Report, Scenario, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a usual test run.
const USUAL: u64 = 5_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// Runs seeds `from..from + count` on all processors. Panics with every one that broke an invariant.
fn seeds(from: u64, count: u64) -> Vec<Report> {
    let next = AtomicU64::new(from);
    let results: Mutex<(Vec<Report>, Vec<Failure>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    match run(Scenario::new(seed)) {
                        Ok(report) => results.lock().unwrap().0.push(report),
                        Err(failure) => results.lock().unwrap().1.push(failure),
                    }
                }
            });
        }
    });
    let (reports, mut failures) = results.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    let names: Vec<String> = failures
        .iter()
        .map(|f| format!("seed {}: {}: {}", f.seed, f.violation.name, f.violation.what))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {count} seeds broke an invariant\n{}\nthe first of them:\n{}",
        failures.len(),
        names.iter().take(20).cloned().collect::<Vec<_>>().join("\n"),
        failures[0]
    );
    reports
}

#[test]
fn many_seeds_hold_the_invariants() {
    let started = std::time::Instant::now();
    let count = number("BACALHAU_SIM_SEEDS").unwrap_or(USUAL);
    let reports = seeds(number("BACALHAU_SIM_FROM").unwrap_or(1), count);
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let hours = reports.iter().map(|r| r.seconds).sum::<i64>() / 3600;
    println!(
        "{count} clusters, {hours} cluster-hours in {:.1?}: {} jobs, {} of them runs of schedules, {} deleted, {} executions, {} faults, {} crashes, {} restarts compared, {} events",
        started.elapsed(),
        sum(|r| r.jobs),
        sum(|r| r.runs),
        sum(|r| r.deleted),
        sum(|r| r.executions),
        sum(|r| r.faults),
        sum(|r| r.crashes),
        sum(|r| r.restarts_compared),
        reports.iter().map(|r| r.events).sum::<u64>(),
    );
    // The runs really did something.
    assert!(sum(|r| r.jobs) > reports.len());
    assert!(sum(|r| r.executions) > reports.len());
    assert!(sum(|r| r.runs) > reports.len());
    assert!(sum(|r| r.deleted) > reports.len() / 4);
    assert!(sum(|r| r.crashes) > reports.len());
    assert!(sum(|r| r.restarts_compared) > reports.len());
}

#[test]
fn one_seed() {
    let Some(seed) = number("BACALHAU_SIM_SEED") else {
        println!("skipped: set BACALHAU_SIM_SEED to the number of a failing run to repeat it");
        return;
    };
    println!("{:?}", seeds(seed, 1));
}

/// With `BACALHAU_SIM_DIGESTS`: one number for each of so many seeds, to see that a change of the harness changes no run.
#[test]
fn digests() {
    let Some(count) = number("BACALHAU_SIM_DIGESTS") else {
        println!("skipped: set BACALHAU_SIM_DIGESTS to the number of seeds whose traces are to be compared");
        return;
    };
    let from = number("BACALHAU_SIM_FROM").unwrap_or(1);
    for seed in from..from + count {
        println!("{seed} {:?}", run(Scenario { traced: true, ..Scenario::new(seed) }));
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 1..20 {
        let traced = || run(Scenario { traced: true, ..Scenario::new(seed) });
        assert_eq!(traced(), traced());
    }
}
