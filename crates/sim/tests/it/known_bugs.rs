//! The harness finds what it is there for: each known mistake, put into the shells, breaks an invariant within a few seeds.

use bacalhau_sim::{Bug, CrashPoint, Host, Scenario, run};

/// Seeds to try.
const MOST: u64 = 300;

/// The first seed that finds the bug, and what it broke. Seeds that fail without it prove nothing.
fn found(bug: Bug) -> Option<(u64, &'static str)> {
    (1..=MOST).find_map(|seed| {
        let failure = run(Scenario { bug: Some(bug), ..Scenario::new(seed) }).err()?;
        run(Scenario::new(seed)).ok()?;
        Some((seed, failure.violation.name))
    })
}

fn is_found(bug: Bug) {
    let found = found(bug);
    println!("{bug:?}: {found:?}");
    assert!(found.is_some(), "{bug:?} is not found within {MOST} seeds");
}

#[test]
fn effects_before_their_commit() {
    is_found(Bug::EffectsBeforeCommit);
}

#[test]
fn reports_acknowledged_before_their_commit() {
    is_found(Bug::ReportsAcknowledgedEarly);
}

#[test]
fn messages_acknowledged_before_their_commit() {
    is_found(Bug::MessagesAcknowledgedEarly);
}

#[test]
fn cancellations_lost_at_a_restart() {
    is_found(Bug::CancellationsForgotten);
}

#[test]
fn reports_in_the_name_of_another_attempt() {
    is_found(Bug::NoFencing);
}

#[test]
fn transactions_written_in_part() {
    // Most transactions are small; so every one of some clusters is torn.
    let torn = |seed, commit| Scenario {
        bug: Some(Bug::TornTransactions),
        crash: Some((Host::Orchestrator, commit, CrashPoint::Torn)),
        ..Scenario::new(seed)
    };
    let found = (1..MOST).find_map(|seed| (0..40).find_map(|commit| run(torn(seed, commit)).err()));
    println!("TornTransactions: {:?}", found.as_ref().map(|failure| (failure.seed, &failure.violation)));
    assert!(found.is_some());
}

#[test]
fn commits_that_overtake_each_other() {
    is_found(Bug::CommitsReordered);
}

#[test]
fn engines_that_run_before_that_is_stored() {
    is_found(Bug::RunsBeforeCommit);
}

#[test]
fn all_are_tried() {
    assert_eq!(Bug::ALL.len(), 8, "a new bug needs a test here");
}
