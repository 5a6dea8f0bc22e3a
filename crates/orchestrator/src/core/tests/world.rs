//! The world of the short stories: a core with a clock, and everything it ever wanted stored or sent.

use super::*;

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

    /// Time passes while the process does not run.
    pub(super) fn sleep_through(&mut self, seconds: i64) {
        self.now += seconds * SECOND;
    }

    pub(super) fn node(&mut self, id: &str, cpu: f64) {
        let most = Resources { memory: 1 << 30, disk: 1 << 30, ..amounts(cpu) };
        let labels = [("name".to_owned(), id.to_owned())].into();
        self.step(handshake(NodeInfo { labels, ..node_info(id, most) }));
    }

    pub(super) fn submit(&mut self, job: Job) -> Result<String, Error> {
        self.step(submission(job));
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
    pub(super) fn relabel(&mut self, node: &str, key: &str, value: &str) {
        let known = self.core.nodes().find(|n| n.info.node_id == node).expect("no such node");
        let mut info = known.info.clone();
        info.labels.insert(key.into(), value.into());
        self.step(Input::UpdateNodeInfo { info: Box::new(info), token: () });
    }

    /// Time passes while all connected nodes go on sending heartbeats.
    pub(super) fn pass_alive(&mut self, seconds: i64) {
        let until = self.now + seconds * SECOND;
        while self.now < until {
            let connected = |n: &&NodeState| n.connection_state.status == Connection::Connected;
            let ids: Vec<String> =
                self.core.nodes().filter(connected).map(|n| n.info.node_id.clone()).collect();
            ids.iter().for_each(|id| self.heartbeat(id));
            let step = (until - self.now).min(10 * SECOND);
            let at = self.now + step;
            self.run_until(at);
            self.now = at.max(self.now);
        }
        self.step(Input::Tick);
    }

    pub(super) fn heartbeat(&mut self, node: &str) {
        self.step(heartbeat(node));
    }

    /// The process ends and another takes over what was stored.
    pub(super) fn restart(&mut self) {
        let mut jobs: BTreeMap<String, BTreeMap<u64, Job>> = BTreeMap::new();
        let (mut executions, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        let mut next_history_seq: BTreeMap<String, u64> = BTreeMap::new();
        for change in &self.changes {
            match change {
                Change::PutJob(job) => {
                    jobs.entry(job.id.clone()).or_default().insert(job.version, (**job).clone());
                }
                Change::PutExecution { execution, pending } => {
                    executions.insert(execution.id.clone(), (Execution::clone(execution), *pending));
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
            let replaced = versions.values().filter(|earlier| rolls && earlier.version < job.version);
            let replaced = replaced.cloned().collect();
            snapshot.jobs.push(StoredJob { job: job.clone(), next_history_seq, previous, replaced });
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
                latest.insert(execution.id.clone(), Execution::clone(execution));
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

impl Timeline for World {
    fn core(&self) -> &Core {
        &self.core
    }

    fn clock(&mut self) -> &mut i64 {
        &mut self.now
    }

    fn step(&mut self, input: Input<()>) {
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
}
