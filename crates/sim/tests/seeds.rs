//! Thousands of clusters, each from its seed.

use bacalhau_sim::{Report, Scenario, run};

/// Runs seeds `from..from + count` and reports every one that broke an invariant, with how to repeat it.
fn seeds(from: u64, count: u64) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut broken = Vec::new();
    for seed in from..from + count {
        match run(Scenario { seed }) {
            Ok(report) => reports.push(report),
            Err(violation) => broken.push(format!("seed {seed}: {}: {}", violation.name, violation.what)),
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {count} seeds broke an invariant; repeat one with BACALHAU_SIM_SEED=<seed> cargo test --package bacalhau-sim one_seed\n{}",
        broken.len(),
        broken.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
    reports
}

#[test]
fn thousands_of_seeds_hold_the_invariants() {
    let count = std::env::var("BACALHAU_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let reports = seeds(1, count);
    // The runs really did something.
    assert!(reports.iter().map(|r| r.jobs).sum::<usize>() > reports.len());
    assert!(reports.iter().map(|r| r.executions).sum::<usize>() > reports.len());
    assert!(reports.iter().map(|r| r.faults).sum::<usize>() > reports.len());
}

#[test]
fn one_seed() {
    let Some(seed) = std::env::var("BACALHAU_SIM_SEED").ok().and_then(|n| n.parse().ok()) else {
        println!("skipped: set BACALHAU_SIM_SEED to the number of a failing run to repeat it");
        return;
    };
    println!("{:?}", seeds(seed, 1));
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 1..20 {
        assert_eq!(run(Scenario { seed }), run(Scenario { seed }));
    }
}
