//! The core's behaviour, told as short stories.

mod explain;
mod lifecycles;
mod nodes;
mod progress;
mod rollouts;

use super::*;
use bacalhau_model::execution::ComputeState;
use bacalhau_model::execution::DesiredState;
use bacalhau_model::{
    ComputeNodeInfo, Job, JobState, NodeInfo, NodeType, Resources, SpecConfig, Task, Timeouts,
};
use bacalhau_store::orchestrator::{Change, StoredJob};
use bacalhau_wire::messages::NodeMessage;

/// A core with a clock, and everything it ever wanted stored or sent.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: i64,
    pub(super) changes: Vec<Change>,
    pub(super) sent: Vec<(String, String, PendingMessage)>,
    pub(super) replies: Vec<Reply>,
}

impl World {
    pub(super) fn new() -> World {
        let settings = Settings { node_id: "o".into(), ..Settings::default() };
        World { core: Core::new(settings, 7), now: SECOND, changes: vec![], sent: vec![], replies: vec![] }
    }

    pub(super) fn step(&mut self, input: Input<()>) {
        let mut out = Output::default();
        self.now += 1_000_000;
        self.core.step(self.now, input, &mut out);
        self.changes.extend(out.changes);
        for effect in out.effects {
            match effect {
                Effect::Reply((), reply) => self.replies.push(reply),
                Effect::Send { node_id, execution_id, kind } => self.sent.push((node_id, execution_id, kind)),
                _ => {}
            }
        }
    }

    /// Time passes; the core is stepped whenever it asked for it, as the shell does.
    pub(super) fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds * SECOND;
        while let Some(at) = self.core.next_wakeup().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.step(Input::Tick);
        }
        self.now = until;
        self.step(Input::Tick);
    }

    /// Time passes while the process does not run.
    pub(super) fn sleep_through(&mut self, seconds: i64) {
        self.now += seconds * SECOND;
    }

    pub(super) fn node(&mut self, id: &str, cpu: f64) {
        let most = Resources { cpu, memory: 1 << 30, disk: 1 << 30, ..Resources::default() };
        let info = NodeInfo {
            node_id: id.into(),
            node_type: NodeType::Compute,
            labels: [("name".to_owned(), id.to_owned())].into(),
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

    pub(super) fn submit(&mut self, job: Job) -> Result<String, Error> {
        self.step(Input::Submit {
            job: Box::new(job),
            stored: None,
            id_taken: false,
            force: false,
            token: (),
        });
        match self.replies.pop() {
            Some(Reply::Submitted(result)) => result.map(|s| s.job_id),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn report(&mut self, execution: &str, make: impl Fn(&Execution) -> NodeMessage) {
        let found = self.executions().into_iter().find(|e| e.id == execution);
        let execution = found.expect("no such execution");
        let (node_id, message) = (execution.node_id.clone(), make(&execution));
        self.step(Input::Report { node_id, message, seq: 1, token: () });
    }

    pub(super) fn accept(&mut self, execution: &str) {
        self.report(execution, |e| messages::bid_result(e, true, None));
    }

    pub(super) fn complete(&mut self, execution: &str) {
        self.report(execution, |e| {
            messages::run_result(
                e,
                Some(vec![Event::new("Execution", "Completed successfully", Default::default())]),
            )
        });
    }

    pub(super) fn fail(&mut self, execution: &str) {
        self.report(execution, |e| {
            messages::compute_error(e, Event::new("Running Execution", "boom", Default::default()))
        });
    }

    /// The node says again what it is, with one label more or other than before.
    fn relabel(&mut self, node: &str, key: &str, value: &str) {
        let known = self.core.nodes().find(|n| n.info.node_id == node).expect("no such node");
        let mut info = known.info.clone();
        info.labels.insert(key.into(), value.into());
        self.step(Input::UpdateNodeInfo { info: Box::new(info), token: () });
    }

    /// Time passes while all connected nodes go on sending heartbeats.
    fn pass_alive(&mut self, seconds: i64) {
        let until = self.now + seconds * SECOND;
        while self.now < until {
            let connected = |n: &&NodeState| n.connection_state.status == Connection::Connected;
            let ids: Vec<String> =
                self.core.nodes().filter(connected).map(|n| n.info.node_id.clone()).collect();
            ids.iter().for_each(|id| self.heartbeat(id));
            let step = (until - self.now).min(10 * SECOND);
            let at = self.now + step;
            while let Some(due) = self.core.next_wakeup().filter(|due| *due <= at) {
                self.now = due.max(self.now);
                self.step(Input::Tick);
            }
            self.now = at.max(self.now);
        }
        self.step(Input::Tick);
    }

    fn heartbeat(&mut self, node: &str) {
        self.step(Input::Heartbeat {
            node_id: node.into(),
            available: Resources::default(),
            queued: Resources::default(),
            last_orchestrator_seq: 0,
            token: (),
        });
    }

    /// The process ends and another takes over what was stored.
    fn restart(&mut self) {
        let mut jobs: BTreeMap<String, BTreeMap<u64, Job>> = BTreeMap::new();
        let (mut executions, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        let mut next_history_seq: BTreeMap<String, u64> = BTreeMap::new();
        for change in &self.changes {
            match change {
                Change::PutJob(job) => {
                    jobs.entry(job.id.clone()).or_default().insert(job.version, (**job).clone());
                }
                Change::PutExecution { execution, pending } => {
                    executions.insert(execution.id.clone(), (execution.clone(), *pending));
                }
                Change::PutNode(node) => {
                    nodes.insert(node.info.node_id.clone(), node.clone());
                }
                Change::AppendHistory(line) => {
                    next_history_seq.insert(line.job_id.clone(), line.seq_num + 1);
                }
                _ => {}
            }
        }
        let mut snapshot = Snapshot { nodes: nodes.into_values().collect(), ..Snapshot::default() };
        for (id, versions) in jobs {
            let Some((_, job)) = versions.last_key_value().filter(|(_, job)| !job.is_terminal()) else {
                continue;
            };
            let rolls = job.state.details.contains_key(bacalhau_model::event::detail::ROLLOUT);
            let from = job.meta.get(bacalhau_model::job::meta::ROLLS_FROM).filter(|_| rolls);
            let previous = from.map(|from| versions[&from.parse().unwrap()].clone());
            let next_history_seq = next_history_seq[&id];
            snapshot.jobs.push(StoredJob { job: job.clone(), next_history_seq, previous });
        }
        let held: BTreeSet<String> = snapshot.jobs.iter().map(|stored| stored.job.id.clone()).collect();
        let wanted = |(e, pending): &(Execution, Option<_>)| held.contains(&e.job_id) || pending.is_some();
        snapshot.executions = executions.into_values().filter(wanted).collect();
        let mut core = Core::new(self.core.settings.clone(), 8);
        core.restore(self.now, snapshot);
        self.core = core;
    }

    /// Latest stored form of every execution.
    pub(super) fn executions(&self) -> Vec<Execution> {
        let mut latest: BTreeMap<String, Execution> = BTreeMap::new();
        for change in &self.changes {
            if let Change::PutExecution { execution, .. } = change {
                latest.insert(execution.id.clone(), execution.clone());
            }
        }
        let mut all: Vec<_> = latest.into_values().collect();
        all.sort_by_key(|e| (e.create_time, e.partition_index));
        all
    }

    pub(super) fn last(&self) -> String {
        self.executions().last().expect("no execution").id.clone()
    }

    pub(super) fn job(&self, id: &str) -> Job {
        let latest = self.changes.iter().rev().find_map(|c| match c {
            Change::PutJob(job) if job.id == id => Some((**job).clone()),
            _ => None,
        });
        latest.expect("no such job")
    }

    pub(super) fn history(&self) -> Vec<(String, String)> {
        let lines = self.changes.iter().filter_map(|c| match c {
            Change::AppendHistory(h) => Some((h.event.topic.clone(), h.event.message.clone())),
            _ => None,
        });
        lines.collect()
    }
}

pub(super) fn job(id: &str, r#type: &str, count: i64) -> Job {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = "1".into();
    Job {
        id: id.into(),
        name: id.into(),
        namespace: "default".into(),
        r#type: r#type.into(),
        count,
        tasks: vec![task],
        ..Job::default()
    }
}

fn with_timeouts(mut job: Job, timeouts: Timeouts) -> Job {
    job.tasks[0].timeouts = timeouts;
    job
}

use bacalhau_model::Error;

#[test]
fn a_batch_job_tells_the_story_users_know() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    assert_eq!(w.sent, vec![("n1".into(), e.clone(), PendingMessage::AskForBid)]);
    w.accept(&e);
    w.complete(&e);
    let lines: Vec<(&str, &str)> = vec![
        ("Submission", "Job submitted"),
        ("Scheduling", "Requested execution on n1"),
        ("State Update", "Running"),
        ("Execution", "Running"),
        ("Execution", "Completed successfully"),
        ("State Update", "Completed"),
    ];
    let expected: Vec<_> = lines.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    assert_eq!(w.history(), expected);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(w.core.census().live_executions, 0);
    let batch = w.core.seal();
    w.core.settled(batch);
    assert!(!w.core.holds_job("j"));
}

#[test]
fn reports_that_come_twice_or_late_change_nothing() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.accept(&e);
    w.complete(&e);
    let before = w.changes.len();
    w.complete(&e);
    w.fail(&e);
    assert_eq!(w.changes.len(), before);
    // A bid for something that is over is answered with a cancellation.
    w.accept(&e);
    assert_eq!(w.sent.last().unwrap().2, PendingMessage::CancelExecution);
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_some());
    assert!(w.core.message(&e, PendingMessage::AskForBid).is_none());
}

#[test]
fn a_report_from_another_node_is_dropped() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.executions().pop().unwrap();
    let message = messages::compute_error(&e, Event::default());
    w.step(Input::Report { node_id: "n2".into(), message, seq: 1, token: () });
    assert_eq!(w.core.census().live_executions, 1);
}

#[test]
fn two_tries_per_node_then_the_job_fails_with_the_reasons() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let first = w.last();
    w.accept(&first);
    w.fail(&first);
    let second = w.last();
    assert_ne!(first, second);
    w.accept(&second);
    w.fail(&second);
    let job = w.job("j");
    assert_eq!(job.state.state_type, JobState::Failed);
    assert_eq!(
        job.state.message,
        "not enough nodes to run job. requested: 1, available: 1, suitable: 0.\n• Node n1: job already executed on this node more than once"
    );
    assert_eq!(w.executions().len(), 2);
}

#[test]
fn a_refused_bid_goes_elsewhere() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let first = w.executions().pop().unwrap();
    let event = Event::new("Exec Scanning", "rejected bid: no", Default::default());
    w.report(&first.id, |e| messages::bid_result(e, false, Some(vec![event.clone()])));
    let second = w.executions().into_iter().find(|e| e.id != first.id).unwrap();
    assert_ne!(second.node_id, first.node_id);
    w.accept(&second.id);
    w.complete(&second.id);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}

#[test]
fn no_node_fails_at_once_or_queues() {
    let mut w = World::new();
    w.submit(job("a", "batch", 1)).unwrap();
    assert_eq!(w.job("a").state.state_type, JobState::Failed);
    assert_eq!(
        w.job("a").state.message,
        "not enough nodes to run job. requested: 1, available: 0, suitable: 0."
    );
    let queue = Timeouts { queue_timeout: 60, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 1), queue)).unwrap();
    assert_eq!(w.job("b").state.state_type, JobState::Queued);
    w.node("n1", 4.0);
    assert_eq!(w.executions().len(), 1);
    w.submit(with_timeouts(job("c", "ops", 0), queue)).unwrap();
    let mut w = World::new();
    w.submit(with_timeouts(job("d", "batch", 1), queue)).unwrap();
    w.pass(61);
    assert_eq!(w.job("d").state.state_type, JobState::Failed);
}

#[test]
fn waiting_jobs_get_freed_room_in_order_of_priority() {
    let mut w = World::new();
    w.node("n1", 1.0);
    let queue = Timeouts { queue_timeout: 600, ..Timeouts::default() };
    w.submit(job("first", "batch", 1)).unwrap();
    let running = w.last();
    w.submit(with_timeouts(job("low", "batch", 1), queue)).unwrap();
    let mut urgent = with_timeouts(job("high", "batch", 1), queue);
    urgent.priority = 10;
    w.submit(urgent).unwrap();
    assert_eq!(w.executions().len(), 1);
    w.accept(&running);
    w.complete(&running);
    assert_eq!(w.executions().last().unwrap().job_id, "high");
    assert_eq!(w.executions().len(), 2);
}

#[test]
fn partitions_share_a_node_and_each_has_one_live_execution() {
    let mut w = World::new();
    w.node("n1", 2.0);
    w.submit(job("j", "batch", 5)).unwrap();
    // 1.5 times two cores hold three; the others wait for these.
    let placed = w.executions();
    assert_eq!(placed.iter().map(|e| e.partition_index).collect::<Vec<_>>(), vec![0, 1, 2]);
    for e in placed {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    let all = w.executions();
    assert_eq!(all.len(), 5);
    for e in &all[3..] {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}

#[test]
fn ops_runs_on_every_matching_node_without_asking_twice() {
    let mut w = World::new();
    for id in ["n1", "n2", "n3"] {
        w.node(id, 4.0);
    }
    w.submit(job("j", "ops", 0)).unwrap();
    let all = w.executions();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|e| e.desired_state.state_type == DesiredState::Running));
    w.complete(&all[0].id);
    w.fail(&all[1].id);
    assert_eq!(w.job("j").state.state_type, JobState::Running);
    w.complete(&all[2].id);
    assert_eq!(w.job("j").state.state_type, JobState::Failed);
    assert_eq!(w.job("j").state.message, "Job failed because one or more executions failed");
}

#[test]
fn a_stopped_job_cancels_until_the_node_acknowledges() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.step(Input::Stop { job_id: "j".into(), reason: "enough".into(), stored: None, token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Stopped(Ok(id))) if !id.is_empty()));
    assert_eq!(w.job("j").state.message, "enough");
    w.step(Input::Stop { job_id: "j".into(), reason: "again".into(), stored: None, token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Stopped(Ok(id))) if id.is_empty()));
    assert!(w.core.message(&e, PendingMessage::AskForBid).is_none());
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_some());
    w.step(Input::Delivered { execution_id: e.clone(), kind: PendingMessage::CancelExecution });
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_none());
    assert_eq!(w.core.census().cancelling, 0);
}

#[test]
fn a_lost_nodes_work_moves_and_a_short_cut_moves_nothing() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.node("n2", 4.0);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(1);
    assert_eq!(w.executions().len(), 1);
    w.node("n1", 4.0);
    w.pass(30);
    assert_eq!(w.executions().len(), 1);
    assert_eq!(w.sent.last().unwrap().2, PendingMessage::BidAccepted);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(11);
    let second = w.last();
    assert_ne!(second, e);
    assert_eq!(w.executions().last().unwrap().node_id, "n2");
    w.accept(&second);
    w.complete(&second);
    // The first attempt comes back late: fenced.
    w.complete(&e);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(
        w.executions().iter().filter(|e| e.compute_state.state_type == ComputeState::Completed).count(),
        1
    );
}

#[test]
fn silence_is_loss_and_a_heartbeat_is_life() {
    let mut w = World::new();
    w.node("n1", 4.0);
    for _ in 0..5 {
        w.pass(20);
        w.step(Input::Heartbeat {
            node_id: "n1".into(),
            available: Resources::default(),
            queued: Resources::default(),
            last_orchestrator_seq: 1,
            token: (),
        });
        assert!(matches!(w.replies.pop(), Some(Reply::Heartbeat(Ok(_)))));
    }
    w.pass(61);
    assert_eq!(w.core.census().connected_nodes, 0);
    w.step(Input::Heartbeat {
        node_id: "n1".into(),
        available: Resources::default(),
        queued: Resources::default(),
        last_orchestrator_seq: 1,
        token: (),
    });
    match w.replies.pop() {
        Some(Reply::Heartbeat(Err(e))) => {
            assert_eq!((e.code.as_ref(), e.http_status()), ("HandshakeRequired", 428))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absence_of_the_orchestrator_is_no_loss_of_its_nodes() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    let limits = Timeouts { execution_timeout: 20, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    w.submit(job("asked", "batch", 1)).unwrap();
    let run = w.executions().into_iter().find(|e| e.job_id == "j").unwrap().id;
    w.accept(&run);
    w.sleep_through(3600);
    w.step(Input::Tick);
    assert_eq!(w.core.census().connected_nodes, 2);
    assert_eq!(w.executions().len(), 2, "nothing is done again");
    // The nodes have seen their connections die and may take longer than usual to come back.
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.step(Input::ConnectionLost { node_id: "n2".into() });
    w.pass(30);
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    w.complete(&run);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(w.executions().len(), 2);
    // Only so much longer.
    w.pass(61);
    assert_eq!(w.core.census().connected_nodes, 0);
}

#[test]
fn an_unanswered_bid_and_an_endless_run_time_out() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let alive = |w: &mut World| {
        for _ in 0..3 {
            w.pass(50);
            w.node("n1", 4.0);
        }
    };
    let limits = Timeouts { execution_timeout: 20, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    let first = w.last();
    // Each handshake gives the node time to answer anew, so only heartbeats may follow.
    for _ in 0..3 {
        w.pass(45);
        w.step(Input::Heartbeat {
            node_id: "n1".into(),
            available: Resources::default(),
            queued: Resources::default(),
            last_orchestrator_seq: 0,
            token: (),
        });
    }
    let second = w.last();
    assert_ne!(first, second);
    w.accept(&second);
    alive(&mut w);
    let stored = w.executions().into_iter().find(|e| e.id == second).unwrap();
    assert_eq!(stored.compute_state.state_type, ComputeState::Failed);
    assert_eq!(stored.compute_state.message, "Execution timed out. Execution took longer than 20s");
}

#[test]
fn the_total_timeout_ends_the_job() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let limits = Timeouts { total_timeout: 30, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    w.pass(31);
    let job = w.job("j");
    assert_eq!(job.state.message, "Job timed out. Job took longer than 30s");
    assert_eq!(w.executions()[0].desired_state.message, "Execution stopped due to job failure");
}

#[test]
fn resubmitting_is_an_update_and_nothing_new_is_refused() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let mut again = job("other-id", "batch", 1);
    again.name = "j".into();
    let error = w.submit(again.clone()).unwrap_err();
    assert_eq!(error.message, "no changes detected for new job spec. Job Name: 'j', Job Id: 'j'");
    again.tasks[0].env.insert("A".into(), "b".into());
    assert_eq!(w.submit(again.clone()).unwrap(), "j");
    let job2 = w.job("j");
    assert_eq!((job2.version, job2.create_time), (2, w.job("j").create_time));
    assert_eq!(w.executions()[0].compute_state.message, "Execution stopped for job update");
    assert_eq!(w.executions()[1].job_version, 2);
    again.r#type = "ops".into();
    again.count = 0;
    assert_eq!(w.submit(again).unwrap_err().http_status(), 400);
}

#[test]
fn a_finished_job_runs_again_from_the_store() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.complete(&e);
    let batch = w.core.seal();
    w.core.settled(batch);
    let stored = StoredJob { job: w.job("j"), next_history_seq: 7, previous: None };
    let spec = Arc::new(w.job("j"));
    w.step(Input::Rerun { job_id: "j".into(), spec, stored: Some(stored), token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Rerun(Ok(r))) if r.job_version == 2));
    let e2 = w.last();
    assert_ne!(e, e2);
    w.accept(&e2);
    w.complete(&e2);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    let batch = w.core.seal();
    w.core.settled(batch);
    assert!(!w.core.holds_job("j"));
}

#[test]
fn a_restart_restores_the_same_state() {
    let mut w = World::new();
    w.node("n1", 2.0);
    let queue = Timeouts { queue_timeout: 600, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 4), queue)).unwrap();
    let e = w.executions();
    w.accept(&e[0].id);
    w.accept(&e[1].id);
    w.complete(&e[1].id);
    let snapshot = Snapshot {
        jobs: vec![StoredJob {
            job: w.job("j"),
            next_history_seq: w.history().len() as u64 + 1,
            previous: None,
        }],
        executions: w.executions().into_iter().map(|e| (e, None)).collect(),
        nodes: w.core.nodes().cloned().collect(),
    };
    let live: Vec<String> = w.core.live_executions().map(|(_, e)| e.id.clone()).collect();
    w.core = Core::new(Settings::default(), 8);
    w.core.restore(w.now, snapshot);
    assert_eq!(w.core.live_executions().map(|(_, e)| e.id.clone()).collect::<Vec<_>>(), live);
    w.pass(1);
    w.sent.clear();
    w.node("n1", 2.0);
    assert_eq!(w.sent.len(), live.len());
    for e in w.executions() {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    for e in w.executions() {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}
