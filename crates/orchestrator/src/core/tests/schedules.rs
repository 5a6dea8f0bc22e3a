//! Jobs with a schedule, told as short stories, and that no due time leads to two runs.

use super::durable::{Durable, START, batch};
use super::*;
use bacalhau_model::policy::Schedule;
use proptest::prelude::*;

pub(super) fn scheduled(id: &str, cron: &str, overlap: &str) -> Job {
    let schedule = Schedule { cron: cron.into(), overlap: overlap.into(), ..Schedule::default() };
    Job { schedule: Some(schedule), ..batch(id) }
}

#[test]
fn a_schedule_makes_a_run_whenever_one_is_due() {
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "* * * * *", "")).unwrap();
    assert_eq!(w.state("tick"), (JobState::Running, "Next run at 2026-11-28 10:01:00 UTC"));
    assert!(w.executions.is_empty(), "it does not run itself");
    w.pass(60);
    assert_eq!(w.names("tick"), ["tick-20261128T100100Z"]);
    assert_eq!(w.state("tick"), (JobState::Running, "Next run at 2026-11-28 10:02:00 UTC"));
    let run = w.runs_of("tick")[0].clone();
    assert_eq!((run.schedule.clone(), run.version, run.namespace.as_str()), (None, 1, "default"));
    assert_eq!(w.jobs["tick"].state.details["LatestRuns"], run.id);
    assert!(w.told("tick", "Run tick-20261128T100100Z started"));
    w.end(&run.id, true);
    assert_eq!(w.state(&run.id).0, JobState::Completed);
    w.pass(60);
    assert_eq!(w.names("tick").len(), 2);
    w.stop("tick");
    w.pass(600);
    assert_eq!(w.names("tick").len(), 2);
    let second = w.runs_of("tick")[1].id.clone();
    assert!(!w.jobs[&second].is_terminal(), "runs that are under way go on");
    assert!(w.core.next_wakeup().is_some_and(|at| at > w.now));
}

#[test]
fn overlapping_runs_are_skipped_allowed_or_replaced() {
    for (overlap, runs, unfinished) in [("skip", 1, 1), ("allow", 3, 3), ("replace", 3, 1)] {
        let mut w = Durable::new(START);
        w.submit(scheduled("tick", "* * * * *", overlap)).unwrap();
        w.pass(180);
        let all = w.runs_of("tick");
        let left: Vec<_> = all.iter().filter(|run| !run.is_terminal()).collect();
        assert_eq!((all.len(), left.len()), (runs, unfinished), "{overlap}");
        let skipped = "The run due at 2026-11-28 10:02:00 UTC is skipped because run tick-20261128T100100Z";
        assert_eq!(w.told("tick", skipped), overlap == "skip");
        if overlap == "replace" {
            assert_eq!(all[0].state.message, "Replaced by run tick-20261128T100200Z");
            assert_eq!(left[0].name, "tick-20261128T100300Z");
        }
    }
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "* * * * * *", "allow")).unwrap();
    w.pass(150);
    assert_eq!(w.runs_of("tick").len(), 100, "no queue grows without end");
    assert!(w.told("tick", "is skipped because 100 runs have not ended"));
}

#[test]
fn a_missed_run_takes_place_once_and_not_long_after() {
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "*/10 * * * *", "allow")).unwrap();
    w.submit(scheduled("rare", "0 12 1 12 *", "allow")).unwrap();
    w.restart(3600 * SECOND);
    assert_eq!(w.names("tick"), ["tick-20261128T110000Z"], "the latest of six");
    assert!(w.told(
        "tick",
        "Runs due from 2026-11-28 10:10:00 UTC on were missed, the latest at 2026-11-28 11:00:00"
    ));
    w.pass(600);
    assert_eq!(w.names("tick").len(), 2);
    // The same when the process was suspended.
    w.now += 7200 * SECOND;
    w.pass(1);
    assert_eq!(w.names("tick").len(), 3);
    w.restart(10 * 24 * 3600 * SECOND);
    assert_eq!(w.names("rare"), Vec::<&str>::new());
    assert!(w.told("rare", "The run due at 2026-12-01 12:00:00 UTC was missed by more than 24h"));
    assert_eq!(w.state("rare").1, "Next run at 2027-12-01 12:00:00 UTC");
}

#[test]
fn a_clock_that_was_set_back_makes_no_second_run() {
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "* * * * *", "allow")).unwrap();
    w.pass(60);
    let run = w.runs_of("tick")[0].id.clone();
    w.end(&run, true);
    assert!(!w.core.holds_job(&run));
    w.restart(-120 * SECOND);
    // An update computes the next due time anew.
    w.submit(scheduled("tick", "* * * * *", "allow")).unwrap();
    assert_eq!(w.state("tick").1, "Next run at 2026-11-28 10:00:00 UTC");
    w.pass(90);
    assert_eq!(w.names("tick"), ["tick-20261128T100000Z", "tick-20261128T100100Z"]);
    // A foreign job of the name is no reason to die.
    w.submit(batch("tick-20261128T100200Z")).unwrap();
    w.end("tick-20261128T100200Z", true);
    w.pass(60);
    assert!(w.told("tick", "is left out because there is a job named tick-20261128T100200Z"));
}

#[test]
fn updates_and_runs_at_request() {
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "0 * * * *", "")).unwrap();
    let made = w.rerun("tick").unwrap().run.unwrap();
    assert!(w.jobs[&made].name.starts_with("tick-20261128T100030Z-"), "{}", w.jobs[&made].name);
    assert_eq!(w.jobs["tick"].version, 1);
    let error = w.rerun("tick").unwrap_err();
    assert_eq!((error.http_status(), error.hint.is_empty()), (409, false), "{error:?}");
    w.end(&made, true);
    w.submit(scheduled("tick", "30 * * * *", "")).unwrap();
    assert_eq!((w.state("tick").1, w.jobs["tick"].version), ("Next run at 2026-11-28 10:30:00 UTC", 2));
    w.pass(3600);
    assert_eq!(w.names("tick").len(), 2, "the old schedule is over");
    w.stop("tick");
    // A stopped schedule starts again.
    assert!(w.rerun("tick").unwrap().run.is_none());
    assert_eq!(w.state("tick"), (JobState::Running, "Next run at 2026-11-28 11:30:00 UTC"));
    // Without its schedule it is a job as any other.
    w.submit(batch("tick")).unwrap();
    assert_eq!(w.executions.values().filter(|(e, _)| e.job_id == "tick").count(), 1);
    w.end("tick", true);
    assert_eq!(w.state("tick").0, JobState::Completed);
}

#[test]
fn an_update_that_comes_late_takes_no_run_away() {
    let mut w = Durable::new(START);
    w.submit(scheduled("tick", "* * * * *", "")).unwrap();
    w.now += 31 * SECOND;
    w.submit(scheduled("tick", "0 0 * * *", "")).unwrap();
    assert_eq!(w.names("tick"), ["tick-20261128T100100Z"]);
}

#[derive(Clone, Debug)]
enum Move {
    Pass(i64),
    /// The process dies after that many steps whose changes never reached the disk, and is away for a while.
    Crash(bool, i64),
    EndRuns,
    Update(usize),
    Rerun,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..200_i64).prop_map(Move::Pass),
        3 => (any::<bool>(), -90..4000_i64).prop_map(|(torn, away)| Move::Crash(torn, away)),
        2 => Just(Move::EndRuns),
        1 => (0..3_usize).prop_map(Move::Update),
        1 => Just(Move::Rerun),
    ];
    proptest::collection::vec(one, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_due_time_leads_to_two_runs(moves in moves(), overlap in 0..3_usize) {
        let overlap = ["skip", "allow", "replace"][overlap];
        let crons = ["* * * * *", "*/20 * * * * *", "*/3 * * * *"];
        let mut w = Durable::new(START);
        w.submit(scheduled("tick", crons[0], overlap)).unwrap();
        let mut all: BTreeSet<String> = BTreeSet::new();
        for one in moves {
            let before = w.runs_of("tick").len();
            let (mut burst, mut by_request) = (None, 0);
            match one {
                Move::Pass(seconds) => w.pass(seconds),
                Move::Crash(torn, away) => {
                    if torn {
                        // The step happened, and none of it was stored.
                        w.now += 61 * SECOND;
                        drop(w.step_without_commit(Input::Tick));
                    }
                    w.restart(away * SECOND);
                    burst = Some(1);
                }
                Move::EndRuns => {
                    for id in w.runs_of("tick").iter().map(|run| run.id.clone()).collect::<Vec<_>>() {
                        w.end(&id, true);
                    }
                }
                Move::Update(which) => drop(w.submit(scheduled("tick", crons[which], overlap)).unwrap()),
                Move::Rerun => by_request += usize::from(w.rerun("tick").is_ok()),
            }
            let runs = w.runs_of("tick");
            if let Some(most) = burst {
                prop_assert!(runs.len() <= before + most + by_request, "a burst after an absence");
            }
            let unfinished = runs.iter().filter(|run| !run.is_terminal()).count();
            prop_assert!(overlap == "allow" || unfinished <= 1);
            for run in runs {
                // Names hold the due time; the store of this world refuses a second job of a name.
                all.insert(run.name.clone());
                prop_assert_eq!(run.version, 1);
            }
            prop_assert_eq!(all.len(), w.runs_of("tick").len());
            let next = crate::core::schedule::next_run(&w.jobs["tick"]).unwrap();
            prop_assert!(next > w.now, "what is due was done");
        }
    }
}
