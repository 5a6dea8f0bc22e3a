//! Jobs that wait for others, told as short stories, and that none starts too early or never.

use super::durable::{Durable, NODE, START, batch};
use super::schedules::scheduled;
use super::*;
use bacalhau_model::job::meta;
use bacalhau_model::policy::Dependency;
use proptest::prelude::*;

fn after(id: &str, others: &[(&str, &str)]) -> Job {
    let dependency =
        |(job, policy): &(&str, &str)| Dependency { job: (*job).into(), on_failure: (*policy).into() };
    Job { depends_on: others.iter().map(dependency).collect(), ..batch(id) }
}

#[test]
fn a_diamond_runs_from_top_to_bottom() {
    let mut w = Durable::new(START);
    w.submit(batch("a")).unwrap();
    w.submit(after("b", &[("a", "")])).unwrap();
    w.submit(after("c", &[("a", "")])).unwrap();
    w.submit(after("d", &[("b", ""), ("c", "")])).unwrap();
    assert_eq!(w.state("d"), (JobState::Pending, "Waiting for b, c"));
    assert_eq!(w.executions.len(), 1);
    w.end("a", true);
    assert_eq!(w.executions.len(), 3);
    w.end("b", true);
    assert_eq!(w.state("d"), (JobState::Pending, "Waiting for c"));
    // b is finished and in no snapshot; its end is not forgotten.
    w.restart(SECOND);
    assert_eq!(w.state("d"), (JobState::Pending, "Waiting for c"));
    w.end("c", true);
    assert_eq!(w.executions.len(), 4);
    w.end("d", true);
    assert_eq!(w.state("d").0, JobState::Completed);
    // Jobs that are final count at once, by name or ID.
    w.submit(after("e", &[("d", ""), ("a", "")])).unwrap();
    assert_eq!(w.executions.len(), 5);
}

#[test]
fn each_policy_for_a_failure() {
    for well in [true, false] {
        let mut w = Durable::new(START);
        w.submit(batch("a")).unwrap();
        for policy in ["fail", "stop", "run"] {
            w.submit(after(policy, &[("a", policy)])).unwrap();
        }
        w.submit(after("next", &[("fail", "")])).unwrap();
        match well {
            // Failing takes two tries.
            true => w.stop("a"),
            false => w.end("a", false),
        }
        let how = if well { "was stopped" } else { "failed" };
        assert_eq!(w.state("fail"), (JobState::Failed, format!("dependency a {how}").as_str()));
        assert_eq!(w.state("stop"), (JobState::Stopped, format!("dependency a {how}").as_str()));
        assert_eq!(w.state("run").0, JobState::Pending);
        assert!(w.executions.values().any(|(e, _)| e.job_id == "run"));
        assert_eq!(w.state("next"), (JobState::Failed, "dependency fail failed"), "and so on");
        w.restart(SECOND);
        w.end("run", true);
        assert_eq!(w.state("run").0, JobState::Completed);
        // A job that failed before counts as one that fails now.
        w.submit(after("late", &[("a", "")])).unwrap();
        assert_eq!(w.state("late").0, JobState::Failed);
    }
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    let mut w = Durable::new(START);
    let error = w.submit(after("b", &[("a", "")])).unwrap_err();
    assert_eq!(error.message, "job b depends on a, and there is no such job in namespace default");
    assert_eq!((error.http_status(), error.hint.is_empty()), (400, false));
    w.submit(Job { namespace: "other".into(), ..batch("a") }).unwrap();
    assert!(w.submit(after("b", &[("a", "")])).is_err(), "the namespace counts");
    w.submit(scheduled("tick", "* * * * *", "")).unwrap();
    w.submit(Job { r#type: "service".into(), ..batch("web") }).unwrap();
    for endless in ["tick", "web"] {
        let error = w.submit(after("b", &[(endless, "")])).unwrap_err();
        assert!(error.message.contains("never ends by itself"), "{error:?}");
    }
    w.submit(Job { name: "named".into(), ..batch("j-1") }).unwrap();
    let error = w.submit(after("b", &[("named", ""), ("j-1", "")])).unwrap_err();
    assert!(error.message.contains("names j-1 twice"), "{error:?}");
}

#[test]
fn cycles_through_updates_are_refused() {
    let mut w = Durable::new(START);
    w.submit(batch("a")).unwrap();
    w.submit(after("b", &[("a", "")])).unwrap();
    w.submit(after("c", &[("b", "")])).unwrap();
    let error = w.submit(after("a", &[("c", "")])).unwrap_err();
    assert_eq!(error.message, "the dependencies of job a form a cycle: a -> c -> b -> a");
    assert_eq!(w.jobs["a"].version, 1);
    // The same when they have all ended and left the memory.
    for id in ["a", "b", "c"] {
        w.end(id, true);
    }
    let error = w.submit(after("a", &[("c", "")])).unwrap_err();
    assert!(error.message.ends_with("a -> c -> b -> a"), "{error:?}");
    // Turning the graph around step by step is fine, but not half of it.
    w.submit(batch("c")).unwrap();
    w.submit(after("a", &[("c", "")])).unwrap();
    let error = w.rerun("b").map(|_| ());
    assert!(error.is_ok(), "a does not depend on b: {error:?}");
}

#[test]
fn a_dependency_that_runs_again_is_waited_for() {
    let mut w = Durable::new(START);
    w.submit(batch("a")).unwrap();
    w.submit(batch("b")).unwrap();
    w.submit(after("c", &[("a", ""), ("b", "")])).unwrap();
    w.end("a", true);
    assert_eq!(w.state("c").1, "Waiting for b");
    w.rerun("a").unwrap();
    assert_eq!(w.state("c").1, "Waiting for a, b");
    w.restart(SECOND);
    w.end("b", true);
    assert_eq!(w.state("c").1, "Waiting for a");
    w.end("a", true);
    assert!(w.executions.values().any(|(e, _)| e.job_id == "c"));
    // Once it may start it does not wait again.
    w.rerun("a").unwrap();
    w.end("c", true);
    assert_eq!(w.state("c").0, JobState::Completed);
}

#[test]
fn a_name_means_the_job_that_had_it() {
    let mut w = Durable::new(START);
    w.submit(batch("a")).unwrap();
    w.end("a", true);
    w.submit(after("b", &[("a", "")])).unwrap();
    w.end("b", true);
    assert_eq!(w.jobs["b"].meta[meta::DEPENDS_ON], "a");
    // The job is deleted, and another one takes its name.
    w.jobs.remove("a");
    w.submit(Job { name: "a".into(), ..batch("j-2") }).unwrap();
    w.rerun("b").unwrap();
    assert_eq!(w.state("b"), (JobState::Failed, "dependency a does not exist any more"));
    w.submit(after("b", &[("a", "")])).unwrap();
    assert_eq!((w.state("b").1, w.jobs["b"].meta[meta::DEPENDS_ON].as_str()), ("Waiting for a", "j-2"));
}

#[test]
fn the_total_timeout_counts_from_when_a_job_may_start() {
    let mut w = Durable::new(START);
    w.submit(batch("a")).unwrap();
    let mut late = after("b", &[("a", "")]);
    late.tasks[0].timeouts.total_timeout = 60;
    w.submit(late).unwrap();
    w.pass(3600);
    assert_eq!(w.state("b"), (JobState::Pending, "Waiting for a"));
    w.end("a", true);
    w.pass(30);
    w.restart(SECOND);
    w.pass(20);
    assert!(!w.jobs["b"].is_terminal());
    w.pass(20);
    assert_eq!(w.state("b").1, "Job timed out. Job took longer than 1m0s");
}

#[derive(Clone, Debug)]
enum Turn {
    End(usize, bool),
    Stop(usize),
    Rerun(usize),
    /// The process dies; with a job whose end was stepped and never stored.
    Crash(Option<usize>),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let one = prop_oneof![
        6 => (0..6_usize, prop::bool::weighted(0.8)).prop_map(|(n, well)| Turn::End(n, well)),
        1 => (0..6_usize).prop_map(Turn::Stop),
        2 => (0..6_usize).prop_map(Turn::Rerun),
        3 => proptest::option::of(0..6_usize).prop_map(Turn::Crash),
    ];
    proptest::collection::vec(one, 1..40)
}

impl Durable {
    /// Jobs that have an execution of their latest version.
    fn started(&self) -> BTreeSet<String> {
        let latest = |e: &Execution| self.jobs.get(&e.job_id).is_some_and(|job| job.version == e.job_version);
        self.executions.values().filter(|(e, _)| latest(e)).map(|(e, _)| e.job_id.clone()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// A job starts only when those it depends on have ended, and none waits for ever, whatever happens meanwhile.
    #[test]
    fn no_job_starts_too_early_or_never(
        edges in proptest::collection::vec((0..6_usize, 0..6_usize, 0..3_usize), 0..12),
        turns in turns(),
    ) {
        let mut w = Durable::new(START);
        for n in 0..6_usize {
            let mut others: BTreeMap<String, &str> = BTreeMap::new();
            for (from, to, policy) in edges.iter().filter(|(from, to, _)| *from == n && to < from) {
                let _ = from;
                others.insert(format!("j{to}"), ["fail", "stop", "run"][*policy]);
            }
            let others: Vec<(&str, &str)> = others.iter().map(|(job, policy)| (job.as_str(), *policy)).collect();
            w.submit(after(&format!("j{n}"), &others)).unwrap();
        }
        for turn in turns {
            let started = w.started();
            match turn {
                Turn::End(n, well) => w.end(&format!("j{n}"), well),
                Turn::Stop(n) if !w.jobs[&format!("j{n}")].is_terminal() => w.stop(&format!("j{n}")),
                Turn::Stop(_) => {}
                Turn::Rerun(n) => drop(w.rerun(&format!("j{n}"))),
                Turn::Crash(lost) => {
                    let live = |n| w.executions.values().find(|(e, _)| e.job_id == format!("j{n}") && !e.is_terminal());
                    if let Some((execution, _)) = lost.and_then(live).cloned() {
                        let message = messages::run_result(&execution, None);
                        drop(w.step_without_commit(Input::Report { node_id: NODE.into(), message, seq: 1, token: () }));
                    }
                    w.restart(SECOND);
                }
            }
            for id in w.started().difference(&started) {
                for other in depends::ids(&w.jobs[id]) {
                    prop_assert!(w.jobs[other].is_terminal(), "{id} started before {other} had ended");
                }
            }
        }
        for _ in 0..6 {
            (0..6).for_each(|n| w.end(&format!("j{n}"), true));
        }
        for job in w.jobs.values() {
            prop_assert!(job.is_terminal(), "{} is {:?}", job.name, job.state);
        }
    }
}
