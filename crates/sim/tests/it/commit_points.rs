//! A crash at every commit of every host, before it, in the middle, after it, and while others are told.

use bacalhau_sim::{CrashPoint, Failure, Host, Scenario, run};

/// Clusters to go through commit by commit.
const SEEDS: std::ops::Range<u64> = 1..9;
/// Commits of one host to crash at; those of one run.
const MOST: usize = 60;

#[test]
fn a_crash_at_any_commit_breaks_nothing() {
    let mut failures: Vec<Failure> = Vec::new();
    let mut runs = 0;
    for seed in SEEDS {
        // The same run without a crash says how many commits there are.
        let never = Some((Host::Orchestrator, usize::MAX, CrashPoint::Before));
        let quiet = run(Scenario { crash: never, ..Scenario::new(seed) }).unwrap_or_else(|f| panic!("{f}"));
        for (host, commits) in quiet.commits {
            for commit in 0..commits.min(MOST) {
                for point in CrashPoint::ALL {
                    let crash = Some((host, commit, point));
                    runs += 1;
                    if let Err(failure) = run(Scenario { crash, ..Scenario::new(seed) }) {
                        println!("seed {seed}, {host:?} dies at commit {commit}: {point:?}");
                        failures.push(failure);
                    }
                }
            }
        }
    }
    println!("{runs} crashes");
    assert!(
        failures.is_empty(),
        "{} of {runs} crashes broke something; the first:\n{}",
        failures.len(),
        failures[0]
    );
    assert!(runs > 500);
}
