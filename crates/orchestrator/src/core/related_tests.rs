//! Schedules and dependencies, told as short stories over a store that survives crashes.

use super::calendar::parse;
use super::*;
use bacalhau_model::execution::Execution;
use bacalhau_model::job::meta;
use bacalhau_model::policy::{Dependency, Schedule};
use bacalhau_model::{
    ComputeNodeInfo, Error, Job, JobState, NodeInfo, NodeType, Resources, SpecConfig, Task,
};
use bacalhau_store::orchestrator::{Change, StoredJob};
use proptest::prelude::*;

/// A core, its clock, and what is on disk.
struct World {
    core: Core,
    now: i64,
    jobs: BTreeMap<String, Job>,
    executions: BTreeMap<String, (Execution, Option<PendingMessage>)>,
    history: Vec<(String, String)>,
    replies: Vec<Reply>,
    lives: u64,
}

const NODE: &str = "n1";

impl World {
    fn new(start: &str) -> World {
        let mut world = World {
            core: Core::new(settings(), 1),
            now: parse(start).unwrap(),
            jobs: BTreeMap::new(),
            executions: BTreeMap::new(),
            history: Vec::new(),
            replies: Vec::new(),
            lives: 1,
        };
        world.node();
        world
    }

    fn node(&mut self) {
        let most = Resources { cpu: 1000.0, memory: 1 << 40, disk: 1 << 40, ..Resources::default() };
        let info = NodeInfo {
            node_id: NODE.into(),
            node_type: NodeType::Compute,
            compute_node_info: ComputeNodeInfo {
                execution_engines: vec!["wasm".into()],
                max_capacity: most.clone(),
                max_job_requirements: most,
                ..ComputeNodeInfo::default()
            },
            ..NodeInfo::default()
        };
        self.step(Input::Handshake { info: Box::new(info), token: () });
    }

    fn look_up(&mut self, unknown: impl Fn(&Core) -> Vec<Reference>) {
        loop {
            let wanted = unknown(&self.core);
            if wanted.is_empty() {
                return;
            }
            for reference in wanted {
                let found = self.jobs.values().find(|job| match &reference {
                    Reference::Named { namespace, name } => job.namespace == *namespace && job.name == *name,
                    Reference::Id(id) => job.id == *id,
                });
                self.core.learn(reference, found);
            }
        }
    }

    /// One step as the shell does it; what it changed is on disk afterwards.
    fn step(&mut self, input: Input<()>) {
        let out = self.step_without_commit(input);
        self.commit(out);
    }

    fn step_without_commit(&mut self, input: Input<()>) -> Output<()> {
        let now = self.now;
        self.look_up(|core| core.unknown_runs(now));
        let mut out = Output::default();
        self.core.step(self.now, input, &mut out);
        out
    }

    fn commit(&mut self, out: Output<()>) {
        for change in out.changes {
            match change {
                Change::PutJob(job) => {
                    let double = self.jobs.values().find(|other| {
                        other.name == job.name && other.namespace == job.namespace && other.id != job.id
                    });
                    assert!(double.is_none(), "two jobs are named {}", job.name);
                    self.jobs.insert(job.id.clone(), (*job).clone());
                }
                Change::PutExecution { execution, pending } => {
                    self.executions.insert(execution.id.clone(), (execution, pending));
                }
                Change::AppendHistory(line) => self.history.push((line.job_id, line.event.message)),
                _ => {}
            }
        }
        let batch = self.core.seal();
        self.core.settled(batch);
        for effect in out.effects {
            if let Effect::Reply((), reply) = effect {
                self.replies.push(reply);
            }
        }
    }

    /// The process dies and starts again, `away` nanoseconds later.
    fn restart(&mut self, away: i64) {
        self.now += away;
        self.lives += 1;
        self.core = Core::new(settings(), self.lives);
        let unfinished: Vec<_> = self.jobs.values().filter(|job| !job.is_terminal()).cloned().collect();
        let executions = self.executions.values();
        let of = |e: &Execution| unfinished.iter().any(|job| job.id == e.job_id);
        let snapshot = Snapshot {
            executions: executions.filter(|(e, pending)| of(e) || pending.is_some()).cloned().collect(),
            jobs: unfinished
                .into_iter()
                .map(|job| StoredJob { job, next_history_seq: 1000, previous: None })
                .collect(),
            nodes: Vec::new(),
        };
        self.core.restore(self.now, snapshot);
        self.step(Input::Tick);
        self.node();
    }

    /// Time passes; the core is stepped whenever it asked for it.
    fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds * SECOND;
        while let Some(at) = self.core.next_wakeup().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.step(Input::Tick);
        }
        self.now = until;
        self.step(Input::Tick);
    }

    fn submit(&mut self, job: Job) -> Result<String, Error> {
        self.look_up(|core| core.unknown_to_submit(&job));
        let stored = match self.core.job_named(&job.namespace, &job.name) {
            Some(_) => None,
            None => self.jobs.values().find(|other| other.name == job.name).cloned(),
        };
        let stored = stored.map(|job| StoredJob { job, next_history_seq: 1000, previous: None });
        let job = Box::new(job);
        self.step(Input::Submit { job, stored, id_taken: false, force: true, token: () });
        match self.replies.pop() {
            Some(Reply::Submitted(result)) => result.map(|s| s.job_id),
            other => panic!("{other:?}"),
        }
    }

    fn rerun(&mut self, id: &str) -> Result<Rerun, Error> {
        let spec = self.jobs[id].clone();
        self.look_up(|core| core.unknown_to_rerun(&spec));
        let stored = (!self.core.holds_job(id)).then(|| StoredJob {
            job: spec.clone(),
            next_history_seq: 1000,
            previous: None,
        });
        self.step(Input::Rerun { job_id: id.into(), spec: Arc::new(spec), stored, token: () });
        match self.replies.pop() {
            Some(Reply::Rerun(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    fn stop(&mut self, id: &str) {
        self.step(Input::Stop { job_id: id.into(), reason: "enough".into(), stored: None, token: () });
        assert!(matches!(self.replies.pop(), Some(Reply::Stopped(Ok(_)))));
    }

    /// All executions of a job end.
    fn end(&mut self, job: &str, well: bool) {
        loop {
            let live = self.executions.values().find(|(e, _)| e.job_id == job && !e.is_terminal());
            let Some(execution) = live.map(|(e, _)| e.clone()) else { return };
            let accepted = messages::bid_result(&execution, true, None);
            self.step(Input::Report { node_id: NODE.into(), message: accepted, seq: 1, token: () });
            let message = match well {
                true => messages::run_result(&execution, None),
                false => messages::compute_error(&execution, Event::new("x", "boom", Default::default())),
            };
            self.step(Input::Report { node_id: NODE.into(), message, seq: 1, token: () });
        }
    }

    fn state(&self, id: &str) -> (JobState, &str) {
        let state = &self.jobs[id].state;
        (state.state_type, state.message.as_str())
    }

    fn runs_of(&self, id: &str) -> Vec<&Job> {
        let mut runs: Vec<_> = self
            .jobs
            .values()
            .filter(|j| j.meta.get(meta::SCHEDULED_BY).is_some_and(|by| by == id))
            .collect();
        runs.sort_by_key(|job| &job.name);
        runs
    }

    fn names(&self, id: &str) -> Vec<&str> {
        self.runs_of(id).into_iter().map(|run| run.name.as_str()).collect()
    }

    fn told(&self, id: &str, text: &str) -> bool {
        self.history.iter().any(|(job, line)| job == id && line.contains(text))
    }
}

/// Nodes never get lost here, and bids are answered when the story says so.
fn settings() -> Settings {
    let never = i64::MAX / 4;
    Settings { disconnect_timeout: never, bid_timeout: never, ..Settings::default() }
}

fn job(id: &str) -> Job {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = "1".into();
    Job {
        id: id.into(),
        name: id.into(),
        namespace: "default".into(),
        r#type: "batch".into(),
        count: 1,
        tasks: vec![task],
        ..Job::default()
    }
}

fn scheduled(id: &str, cron: &str, overlap: &str) -> Job {
    let schedule = Schedule { cron: cron.into(), overlap: overlap.into(), ..Schedule::default() };
    Job { schedule: Some(schedule), ..job(id) }
}

fn after(id: &str, others: &[(&str, &str)]) -> Job {
    let dependency =
        |(job, policy): &(&str, &str)| Dependency { job: (*job).into(), on_failure: (*policy).into() };
    Job { depends_on: others.iter().map(dependency).collect(), ..job(id) }
}

const START: &str = "2026-11-28T10:00:30Z";

#[test]
fn a_schedule_makes_a_run_whenever_one_is_due() {
    let mut w = World::new(START);
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
        let mut w = World::new(START);
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
    let mut w = World::new(START);
    w.submit(scheduled("tick", "* * * * * *", "allow")).unwrap();
    w.pass(150);
    assert_eq!(w.runs_of("tick").len(), 100, "no queue grows without end");
    assert!(w.told("tick", "is skipped because 100 runs have not ended"));
}

#[test]
fn a_missed_run_takes_place_once_and_not_long_after() {
    let mut w = World::new(START);
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
    let mut w = World::new(START);
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
    w.submit(job("tick-20261128T100200Z")).unwrap();
    w.end("tick-20261128T100200Z", true);
    w.pass(60);
    assert!(w.told("tick", "is left out because there is a job named tick-20261128T100200Z"));
}

#[test]
fn updates_and_runs_at_request() {
    let mut w = World::new(START);
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
    w.submit(job("tick")).unwrap();
    assert_eq!(w.executions.values().filter(|(e, _)| e.job_id == "tick").count(), 1);
    w.end("tick", true);
    assert_eq!(w.state("tick").0, JobState::Completed);
}

#[test]
fn an_update_that_comes_late_takes_no_run_away() {
    let mut w = World::new(START);
    w.submit(scheduled("tick", "* * * * *", "")).unwrap();
    w.now += 31 * SECOND;
    w.submit(scheduled("tick", "0 0 * * *", "")).unwrap();
    assert_eq!(w.names("tick"), ["tick-20261128T100100Z"]);
}

#[test]
fn a_diamond_runs_from_top_to_bottom() {
    let mut w = World::new(START);
    w.submit(job("a")).unwrap();
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
        let mut w = World::new(START);
        w.submit(job("a")).unwrap();
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
    let mut w = World::new(START);
    let error = w.submit(after("b", &[("a", "")])).unwrap_err();
    assert_eq!(error.message, "job b depends on a, and there is no such job in namespace default");
    assert_eq!((error.http_status(), error.hint.is_empty()), (400, false));
    w.submit(Job { namespace: "other".into(), ..job("a") }).unwrap();
    assert!(w.submit(after("b", &[("a", "")])).is_err(), "the namespace counts");
    w.submit(scheduled("tick", "* * * * *", "")).unwrap();
    w.submit(Job { r#type: "service".into(), ..job("web") }).unwrap();
    for endless in ["tick", "web"] {
        let error = w.submit(after("b", &[(endless, "")])).unwrap_err();
        assert!(error.message.contains("never ends by itself"), "{error:?}");
    }
    w.submit(Job { name: "named".into(), ..job("j-1") }).unwrap();
    let error = w.submit(after("b", &[("named", ""), ("j-1", "")])).unwrap_err();
    assert!(error.message.contains("names j-1 twice"), "{error:?}");
}

#[test]
fn cycles_through_updates_are_refused() {
    let mut w = World::new(START);
    w.submit(job("a")).unwrap();
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
    w.submit(job("c")).unwrap();
    w.submit(after("a", &[("c", "")])).unwrap();
    let error = w.rerun("b").map(|_| ());
    assert!(error.is_ok(), "a does not depend on b: {error:?}");
}

#[test]
fn a_dependency_that_runs_again_is_waited_for() {
    let mut w = World::new(START);
    w.submit(job("a")).unwrap();
    w.submit(job("b")).unwrap();
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
    let mut w = World::new(START);
    w.submit(job("a")).unwrap();
    w.end("a", true);
    w.submit(after("b", &[("a", "")])).unwrap();
    w.end("b", true);
    assert_eq!(w.jobs["b"].meta[meta::DEPENDS_ON], "a");
    // The job is deleted, and another one takes its name.
    w.jobs.remove("a");
    w.submit(Job { name: "a".into(), ..job("j-2") }).unwrap();
    w.rerun("b").unwrap();
    assert_eq!(w.state("b"), (JobState::Failed, "dependency a does not exist any more"));
    w.submit(after("b", &[("a", "")])).unwrap();
    assert_eq!((w.state("b").1, w.jobs["b"].meta[meta::DEPENDS_ON].as_str()), ("Waiting for a", "j-2"));
}

#[test]
fn the_total_timeout_counts_from_when_a_job_may_start() {
    let mut w = World::new(START);
    w.submit(job("a")).unwrap();
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
        let mut w = World::new(START);
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
            let next = super::schedule::next_run(&w.jobs["tick"]).unwrap();
            prop_assert!(next > w.now, "what is due was done");
        }
    }
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

impl World {
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
        let mut w = World::new(START);
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
