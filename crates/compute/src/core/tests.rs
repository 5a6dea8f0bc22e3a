//! The core's behaviour, told as short stories.

mod amounts;
mod progress;
mod restart;

use super::*;
use bacalhau_model::RunCommandResult;
use bacalhau_model::{Error, InputSource, Job, NetworkConfig, NetworkType, SpecConfig, Task};
use bacalhau_store::compute::StoredExecution;
use bacalhau_wire::messages::NodeMessageKind;

/// A core with a clock, a disk that holds what was committed, and everything it wanted done.
struct World {
    core: Core,
    now: i64,
    disk: BTreeMap<String, StoredExecution>,
    effects: Vec<Effect<u32>>,
}

const SECOND: i64 = 1_000_000_000;

fn policy() -> BidPolicy {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    BidPolicy {
        engines: names(&["wasm"]),
        publishers: names(&["local"]),
        sources: names(&["inline", "urldownload"]),
        default_resources: Resources { cpu: 0.1, memory: 100, ..Resources::default() },
        capacity: Resources { cpu: 2.0, memory: 1_000_000, disk: 1_000, ..Resources::default() },
        ..BidPolicy::default()
    }
}

impl World {
    fn new() -> World {
        World { core: Core::new(policy()), now: SECOND, disk: BTreeMap::new(), effects: Vec::new() }
    }

    fn step(&mut self, input: Input<u32>) {
        let mut out = Output::default();
        self.now += 1_000_000;
        self.core.step(self.now, input, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Output<u32>) {
        for change in out.changes {
            match change {
                Change::PutExecution { execution, pending, event } => {
                    let record = StoredExecution { execution: *execution, pending, event };
                    self.disk.insert(record.execution.id.clone(), record);
                }
                Change::Forget(id) => drop(self.disk.remove(&id)),
            }
        }
        self.effects.extend(out.effects);
    }

    /// Dies and starts again with what is on disk.
    fn restart(&mut self) {
        self.core = Core::new(policy());
        self.effects.clear();
        let mut out = Output::default();
        self.core.restore(self.now, self.disk.values().cloned().collect(), &BTreeSet::new(), &mut out);
        self.take(out);
    }

    fn ask(&mut self, execution: Execution) {
        let message = messages::ask_for_bid(execution);
        self.step(Input::Message { message, token: 1 });
    }

    fn accept(&mut self, id: &str) {
        self.step(Input::Message { message: messages::bid_accepted(id), token: 2 });
    }

    fn cancel(&mut self, id: &str) {
        let reason = Event::new("Scheduling", "not wanted", Time::from_unix_nanos(1));
        self.step(Input::Message { message: messages::cancel_execution(id, reason), token: 3 });
    }

    fn finish(&mut self, id: &str, result: Result<Finished, Failed>) {
        self.step(Input::Finished { execution_id: id.to_owned(), result });
    }

    fn delivered(&mut self, id: &str, kind: PendingReport) {
        self.step(Input::Delivered { execution_id: id.to_owned(), kind });
    }

    fn state(&self, id: &str) -> Option<ComputeState> {
        self.core.slot(id).map(Slot::state)
    }

    /// True when it was handed to its engine and is not over.
    fn runs(&self, id: &str) -> bool {
        self.core.slot(id).is_some_and(Slot::is_begun)
    }

    /// Effects since the last call, in short.
    fn did(&mut self) -> Vec<String> {
        let short = |effect: Effect<u32>| match effect {
            Effect::Acknowledge(token) => format!("ack {token}"),
            Effect::Probe(e) => format!("probe {}", e.id),
            Effect::Run(e, Start::Afresh) => format!("run {}", e.id),
            Effect::Run(e, start) => format!("{start:?} {}", e.id),
            Effect::Cancel(id) => format!("cancel {id}"),
            Effect::Report { execution_id, kind } => format!("{kind:?} {execution_id}"),
        };
        std::mem::take(&mut self.effects).into_iter().map(short).collect()
    }
}

fn execution(id: &str, cpu: &str) -> Execution {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = cpu.into();
    let job = Job { id: "j".into(), r#type: "batch".into(), count: 1, tasks: vec![task], ..Job::default() };
    Execution { id: id.into(), job_id: "j".into(), job: Some(Arc::new(job)), ..Execution::default() }
}

fn with_task(mut execution: Execution, change: impl FnOnce(&mut Task)) -> Execution {
    let job = Arc::make_mut(execution.job.as_mut().unwrap());
    change(&mut job.tasks[0]);
    execution
}

/// Asks for an input of which only IO can tell the size.
fn remote(id: &str) -> Execution {
    with_task(execution(id, "1"), |t| {
        t.input_sources
            .push(InputSource { source: SpecConfig::new("urlDownload"), ..InputSource::default() });
    })
}

fn boom() -> Failed {
    Failed { topic: "Running Execution".into(), error: Error::plain("boom").hint("look"), run_output: None }
}

#[test]
fn asked_approved_run_reported_forgotten() {
    let mut w = World::new();
    w.ask(execution("e", "1"));
    assert_eq!(w.did(), ["BidResult e", "ack 1"]);
    assert_eq!(w.core.message("e", PendingReport::BidResult).unwrap().kind(), NodeMessageKind::BidResult);
    w.delivered("e", PendingReport::BidResult);
    w.accept("e");
    assert_eq!(w.did(), ["ack 2", "run e"]);
    assert_eq!(w.core.load().0.cpu, 1.0);
    // The bid is out of date by now.
    assert!(w.core.message("e", PendingReport::BidResult).is_none());
    let done = Finished { published_result: SpecConfig::new("urlDownload"), ..Finished::default() };
    w.finish("e", Ok(done));
    assert_eq!(w.did(), ["RunResult e"]);
    assert_eq!(w.core.load().0.cpu, 2.0);
    match w.core.message("e", PendingReport::RunResult).unwrap() {
        NodeMessage::RunResult(result) => {
            assert_eq!(result.publish_result.unwrap().r#type, "urlDownload");
            assert_eq!(result.events.unwrap()[0].message, "Completed successfully");
            assert_eq!(result.job_type, "batch");
        }
        other => panic!("{other:?}"),
    }
    w.delivered("e", PendingReport::RunResult);
    assert_eq!((w.state("e"), w.disk.len()), (None, 0));
}

#[test]
fn an_exit_code_that_is_no_success_is_not_called_one() {
    let mut w = World::new();
    w.ask(execution("e", "1"));
    w.delivered("e", PendingReport::BidResult);
    w.accept("e");
    let run_output = RunCommandResult { exit_code: 3, ..RunCommandResult::default() };
    w.finish("e", Ok(Finished { run_output, ..Finished::default() }));
    match w.core.message("e", PendingReport::RunResult).unwrap() {
        NodeMessage::RunResult(result) => {
            assert_eq!(result.events.unwrap()[0].message, "Completed with exit code 3");
            assert_eq!(result.run_command_result.unwrap().exit_code, 3);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failure_is_a_compute_error_with_its_hint() {
    let mut w = World::new();
    w.ask(execution("e", "1"));
    w.accept("e");
    let printed = RunCommandResult { stdout: "half".into(), exit_code: 3, ..RunCommandResult::default() };
    w.finish("e", Err(Failed { run_output: Some(printed.clone()), ..boom() }));
    assert_eq!(w.disk["e"].execution.run_output, printed, "what it printed until then stays on this node");
    match w.core.message("e", PendingReport::ComputeError).unwrap() {
        NodeMessage::ComputeError(error) => {
            let event = &error.events.unwrap()[0];
            assert_eq!((event.topic.as_str(), event.message.as_str()), ("Running Execution", "boom"));
            assert_eq!(event.details.get("Hint").unwrap(), "look");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_name_every_reason() {
    let refused = |change: fn(&mut Task), policy: BidPolicy| {
        let mut w = World { core: Core::new(policy), ..World::new() };
        w.ask(with_task(execution("e", "1"), change));
        assert_eq!(w.state("e"), Some(ComputeState::AskForBidRejected));
        match w.core.message("e", PendingReport::BidResult).unwrap() {
            NodeMessage::BidResult(bid) => {
                assert!(!bid.accepted);
                bid.events.unwrap()[0].message.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let docker = refused(|t| t.engine = SpecConfig::new("docker"), policy());
    assert_eq!(docker, "rejected bid: this node does not support \"docker\"");
    let both = refused(
        |t| {
            t.publisher = SpecConfig::new("s3");
            t.input_sources.push(InputSource { source: SpecConfig::new("ipfs"), ..InputSource::default() });
        },
        policy(),
    );
    assert_eq!(
        both,
        "rejected bid: this node does not support \"s3\"; rejected bid: this node does not support \"ipfs\""
    );
    let strict = BidPolicy { reject_networked: true, reject_stateless: true, ..policy() };
    let text = refused(
        |t| t.network = Some(NetworkConfig { r#type: NetworkType::Host, ..NetworkConfig::default() }),
        strict,
    );
    assert!(
        text.contains("run jobs that require network access") && text.contains("without any input volumes"),
        "{text}"
    );
    let local = BidPolicy { only_local_inputs: true, ..policy() };
    let remote = |t: &mut Task| {
        t.input_sources
            .push(InputSource { source: SpecConfig::new("urlDownload"), ..InputSource::default() });
    };
    assert!(refused(remote, local).contains("have all input data locally (1 inputs require downloading)"));
    let big = refused(|t| t.resources.cpu = "3".into(), policy());
    assert!(big.starts_with("rejected bid: insufficient resources - requested: {CPU: 3,"), "{big}");
    let odd = refused(|t| t.resources.cpu = "many".into(), policy());
    assert!(odd.starts_with("rejected bid: this node does not understand the job's resources: "), "{odd}");
    let mut w = World::new();
    w.ask(Execution { id: "e".into(), ..Execution::default() });
    let state = &w.core.slot("e").unwrap().execution.compute_state;
    assert_eq!(state.message, "rejected bid: this node does not run jobs without a task");
}

#[test]
fn what_only_io_can_tell_is_probed() {
    let mut w = World::new();
    for id in ["fits", "large", "no", "error"] {
        w.ask(remote(id));
    }
    assert!(w.did().contains(&"probe fits".to_owned()));
    let probed = |id: &str, result| Input::Probed { execution_id: id.to_owned(), result };
    w.step(probed("fits", Ok(500)));
    w.step(probed("large", Ok(5_000)));
    w.step(probed("no", Err(Declined::Refused("that path is not allowed".into()))));
    w.step(probed("error", Err(Declined::Error(Error::plain("no answer")))));
    assert_eq!(w.state("fits"), Some(ComputeState::AskForBidAccepted));
    assert_eq!(w.core.slot("fits").unwrap().usage.disk, 500);
    assert_eq!(w.state("large"), Some(ComputeState::AskForBidRejected));
    assert_eq!(
        w.core.slot("no").unwrap().execution.compute_state.message,
        "rejected bid: that path is not allowed"
    );
    assert_eq!(w.state("error"), Some(ComputeState::Failed));
    // A late answer changes nothing.
    w.step(probed("error", Ok(1)));
    assert_eq!(w.state("error"), Some(ComputeState::Failed));
}

#[test]
fn a_pre_approved_execution_runs_without_another_word() {
    let mut w = World::new();
    let mut e = execution("e", "1");
    e.desired_state = State::new(DesiredState::Running);
    w.ask(e);
    assert_eq!(w.did(), ["ack 1", "run e"]);
}

#[test]
fn questions_asked_twice_get_the_same_answer() {
    let mut w = World::new();
    w.ask(execution("e", "1"));
    w.delivered("e", PendingReport::BidResult);
    w.did();
    w.ask(execution("e", "1"));
    w.step(Input::Connected { progress: true });
    assert_eq!(w.did(), ["BidResult e", "ack 1", "BidResult e"]);
    w.accept("e");
    w.did();
    w.accept("e");
    w.ask(execution("e", "1"));
    assert_eq!(w.did(), ["ack 2", "ack 1"], "it runs once");
    w.finish("e", Ok(Finished::default()));
    w.did();
    w.accept("e");
    assert_eq!(w.did(), ["RunResult e", "ack 2"]);
}

#[test]
fn told_to_run_what_it_does_not_know_it_says_so() {
    let mut w = World::new();
    w.accept("ghost");
    assert_eq!(w.did(), ["ComputeError ghost", "ack 2"]);
    assert_eq!(w.core.message("ghost", PendingReport::ComputeError).unwrap().execution_id(), "ghost");
    w.step(Input::Connected { progress: true });
    assert_eq!(w.did(), ["ComputeError ghost"], "until somebody heard it");
    w.delivered("ghost", PendingReport::ComputeError);
    assert!(w.core.message("ghost", PendingReport::ComputeError).is_none());
    // Asked afresh it is not lost any more.
    w.accept("again");
    w.ask(execution("again", "1"));
    assert_eq!(w.core.message("again", PendingReport::BidResult).unwrap().kind(), NodeMessageKind::BidResult);
    assert!(w.core.message("again", PendingReport::ComputeError).is_none());
}

#[test]
fn a_late_copy_of_the_question_does_not_run_a_daemon_again() {
    let mut w = World::new();
    let mut daemon = execution("d", "1");
    daemon.desired_state = State::new(DesiredState::Running);
    w.ask(daemon.clone());
    w.finish("d", Err(boom()));
    w.delivered("d", PendingReport::ComputeError);
    w.did();
    w.ask(daemon.clone());
    assert_eq!(
        w.did(),
        ["ComputeError d", "ack 1"],
        "nobody listens, or somebody learns that it is not here"
    );
    assert_eq!(w.state("d"), None);
    // Nor one that was cancelled while it ran.
    daemon.id = "c".into();
    w.ask(daemon.clone());
    w.cancel("c");
    w.finish("c", Err(boom()));
    w.did();
    w.ask(daemon);
    assert_eq!(w.did(), ["ComputeError c", "ack 1"]);
}

#[test]
fn cancelled_at_every_moment() {
    let mut w = World::new();
    // Before the question arrives, which must not start it any more.
    w.cancel("unknown");
    assert_eq!(w.did(), ["ack 3"]);
    w.ask(execution("unknown", "1"));
    assert_eq!(w.did(), ["ComputeError unknown", "ack 1"]);
    w.delivered("unknown", PendingReport::ComputeError);
    assert_eq!((w.state("unknown"), w.disk.len()), (None, 0));
    // A bid that the orchestrator turns down.
    w.ask(execution("rejected", "1"));
    let reason = Event::new("Scheduling", "taken", Time::from_unix_nanos(1));
    w.step(Input::Message { message: messages::bid_rejected("rejected", reason), token: 4 });
    assert_eq!(w.did(), ["BidResult rejected", "ack 1", "cancel rejected", "ack 4"]);
    assert_eq!((w.state("rejected"), w.disk.len()), (None, 0));
    // Before approval, and while it waits for capacity: it never starts.
    w.ask(execution("bid", "1"));
    w.cancel("bid");
    assert_eq!((w.state("bid"), w.disk.contains_key("bid")), (None, false));
    for id in ["running", "waiting"] {
        w.ask(execution(id, "2"));
        w.accept(id);
    }
    w.did();
    w.cancel("waiting");
    assert_eq!(w.did(), ["cancel waiting", "ack 3"]);
    assert_eq!(w.state("waiting"), None);
    // While it runs: its capacity is free when the engine says so, not before.
    w.cancel("running");
    assert_eq!(w.did(), ["cancel running", "ack 3"]);
    assert_eq!((w.state("running"), w.core.load().0.cpu), (Some(ComputeState::Cancelled), 0.0));
    w.finish("running", Err(boom()));
    assert_eq!((w.state("running"), w.core.load().0.cpu, w.did().len()), (None, 2.0, 0));
    // After the end, before the report was acknowledged: nobody wants to hear it any more.
    w.ask(execution("late", "1"));
    w.accept("late");
    w.finish("late", Ok(Finished::default()));
    w.cancel("late");
    assert_eq!((w.state("late"), w.disk.len()), (None, 0));
}

#[test]
fn priority_decides_who_gets_free_capacity() {
    let mut w = World::new();
    let with_priority = |id: &str, priority| {
        let mut e = execution(id, "2");
        Arc::make_mut(e.job.as_mut().unwrap()).priority = priority;
        e
    };
    for (id, priority) in [("first", 0), ("low", 0), ("high", 5)] {
        w.ask(with_priority(id, priority));
        w.accept(id);
    }
    assert_eq!(w.core.load().2, 1);
    w.did();
    w.finish("first", Ok(Finished::default()));
    assert!(w.did().contains(&"run high".to_owned()));
}

#[test]
fn a_bid_that_nobody_answers_is_dropped() {
    let mut w = World::new();
    w.ask(execution("e", "1"));
    let due = w.core.next_wakeup().unwrap();
    w.now = due - 2_000_000;
    w.step(Input::Tick);
    assert_eq!(w.state("e"), Some(ComputeState::AskForBidAccepted));
    w.now = due;
    w.step(Input::Tick);
    assert_eq!((w.state("e"), w.disk.len(), w.core.next_wakeup()), (None, 0, None));
}
