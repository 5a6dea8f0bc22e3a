//! The world of schedules and dependencies: a core over a store that survives crashes.

use super::*;
use crate::core::calendar::parse;
use bacalhau_model::job::meta;

/// A core, its clock, and what is on disk.
pub(super) struct Durable {
    pub(super) core: Core,
    pub(super) now: i64,
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) executions: BTreeMap<String, (Execution, Option<PendingMessage>)>,
    pub(super) history: Vec<(String, String)>,
    pub(super) replies: Vec<Reply>,
    pub(super) lives: u64,
}

pub(super) const NODE: &str = "n1";

impl Durable {
    pub(super) fn new(start: &str) -> Durable {
        let mut world = Durable {
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

    pub(super) fn node(&mut self) {
        self.step(handshake(node_info(NODE, amounts(1000.0))));
    }

    pub(super) fn look_up(&mut self, unknown: impl Fn(&Core) -> Vec<Reference>) {
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

    pub(super) fn step_without_commit(&mut self, input: Input<()>) -> Output<()> {
        let now = self.now;
        self.look_up(|core| core.unknown_runs(now));
        let mut out = Output::default();
        self.core.step(self.now, input, &mut out);
        out
    }

    pub(super) fn commit(&mut self, out: Output<()>) {
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
                    self.executions.insert(execution.id.clone(), (Arc::unwrap_or_clone(execution), pending));
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
    pub(super) fn restart(&mut self, away: i64) {
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
                .map(|job| StoredJob { job, next_history_seq: 1000, previous: None, replaced: Vec::new() })
                .collect(),
            nodes: Vec::new(),
        };
        self.core.restore(self.now, snapshot);
        self.step(Input::Tick);
        self.node();
    }

    pub(super) fn submit(&mut self, job: Job) -> Result<String, Error> {
        self.look_up(|core| core.unknown_to_submit(&job));
        let stored = match self.core.job_named(&job.namespace, &job.name) {
            Some(_) => None,
            None => self.jobs.values().find(|other| other.name == job.name).cloned(),
        };
        let stored =
            stored.map(|job| StoredJob { job, next_history_seq: 1000, previous: None, replaced: Vec::new() });
        let job = Box::new(job);
        self.step(Input::Submit { job, stored, id_taken: false, force: true, token: () });
        match self.replies.pop() {
            Some(Reply::Submitted(result)) => result.map(|s| s.job_id),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn rerun(&mut self, id: &str) -> Result<Rerun, Error> {
        let spec = self.jobs[id].clone();
        self.look_up(|core| core.unknown_to_rerun(&spec));
        let stored = (!self.core.holds_job(id)).then(|| StoredJob {
            job: spec.clone(),
            next_history_seq: 1000,
            previous: None,
            replaced: Vec::new(),
        });
        self.step(Input::Rerun { job_id: id.into(), spec: Arc::new(spec), stored, token: () });
        match self.replies.pop() {
            Some(Reply::Rerun(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn stop(&mut self, id: &str) {
        self.step(Input::Stop { job_id: id.into(), reason: "enough".into(), stored: None, token: () });
        assert!(matches!(self.replies.pop(), Some(Reply::Stopped(Ok(_)))));
    }

    /// All executions of a job end.
    pub(super) fn end(&mut self, job: &str, well: bool) {
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

    pub(super) fn state(&self, id: &str) -> (JobState, &str) {
        let state = &self.jobs[id].state;
        (state.state_type, state.message.as_str())
    }

    pub(super) fn runs_of(&self, id: &str) -> Vec<&Job> {
        let mut runs: Vec<_> = self
            .jobs
            .values()
            .filter(|j| j.meta.get(meta::SCHEDULED_BY).is_some_and(|by| by == id))
            .collect();
        runs.sort_by_key(|job| &job.name);
        runs
    }

    pub(super) fn names(&self, id: &str) -> Vec<&str> {
        self.runs_of(id).into_iter().map(|run| run.name.as_str()).collect()
    }

    pub(super) fn told(&self, id: &str, text: &str) -> bool {
        self.history.iter().any(|(job, line)| job == id && line.contains(text))
    }
}

impl Timeline for Durable {
    fn core(&self) -> &Core {
        &self.core
    }

    fn clock(&mut self) -> &mut i64 {
        &mut self.now
    }

    /// One step as the shell does it; what it changed is on disk afterwards.
    fn step(&mut self, input: Input<()>) {
        let out = self.step_without_commit(input);
        self.commit(out);
    }
}

/// Nodes never get lost here, and bids are answered when the story says so.
fn settings() -> Settings {
    let never = i64::MAX / 4;
    Settings { disconnect_timeout: never, bid_timeout: never, ..Settings::default() }
}

/// A batch job with one partition.
pub(super) fn batch(id: &str) -> Job {
    job(id, "batch", 1)
}

pub(super) const START: &str = "2026-11-28T10:00:30Z";
