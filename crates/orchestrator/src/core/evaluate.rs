//! Looks at one job and does what is due: timeouts, placements, completion, failure.

use super::Core;
use super::end::{self, Cause};
use super::entry::{JobEntry, Live};
use super::io::{Effect, Output};
use super::place::{self, Shortage};
use super::record::{self, execution_event, scheduling};
use super::settings::Settings;
use super::suitable;
use super::timers::Due;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::state::State;
use bacalhau_model::{Event, Job, JobState, Membership, Time, ids};
use bacalhau_store::orchestrator::PendingMessage;

/// When the execution's present phase is overdue: the bid unanswered, or the run longer than its limit.
pub(crate) fn deadline(settings: &Settings, execution: &Execution, job: &Job, now: i64) -> i64 {
    let limit = job.task().map_or(0, |t| t.timeouts.execution_limit()).max(0);
    let long_running = job.job_type().is_some_and(bacalhau_model::JobType::is_long_running);
    let asks = execution.desired_state.state_type == DesiredState::Pending;
    if asks && !execution.compute_state.state_type.is_executing() {
        now.saturating_add(settings.bid_timeout)
    } else if limit > 0 && !long_running {
        now.saturating_add(limit.saturating_mul(super::SECOND)).saturating_add(settings.timeout_slack)
    } else {
        i64::MAX
    }
}

impl Core {
    /// Does everything that is due for one job. Harmless when nothing is.
    pub(crate) fn evaluate<T>(&mut self, now: i64, job_id: &str, out: &mut Output<T>) {
        let Some(mut entry) = self.jobs.remove(job_id) else { return };
        if !entry.job.is_terminal() {
            self.timeouts(&mut entry, now, out);
        }
        if !entry.job.is_terminal() {
            if entry.job_type.is_on_all_nodes() && !self.everywhere.contains(job_id) {
                self.everywhere.insert(job_id.to_owned());
            }
            match entry.job_type.is_on_all_nodes() {
                false => self.evaluate_partitions(&mut entry, now, out),
                true => self.evaluate_all_nodes(&mut entry, now, out),
            }
        }
        if !entry.job.is_terminal() {
            self.set_timer(&entry, now);
        }
        self.jobs.insert(job_id.to_owned(), entry);
    }

    fn timeouts<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let total = entry.total_timeout();
        let overdue = total > 0 && now >= entry.version_started.saturating_add(total);
        if overdue && !entry.job_type.is_long_running() {
            let text = format!("Job timed out. Job took longer than {}", end::duration(total));
            self.fail_job(entry, end::timeout(topic::JOB_TIMEOUT, text, now), now, out);
            return;
        }
        if now < entry.next_deadline {
            return;
        }
        let late: Vec<(String, bool)> = entry
            .live
            .iter()
            .filter(|(_, live)| live.deadline <= now)
            .map(|(id, live)| (id.clone(), live.execution.desired_state.state_type == DesiredState::Pending))
            .collect();
        for (id, asked) in late {
            let limit = Cause::ExecutionTimeout(entry.execution_timeout());
            self.stop_execution(entry, &id, if asked { Cause::BidTimeout } else { limit }, now, out);
        }
        entry.find_deadline();
    }

    /// Batch and service jobs: one live execution per partition.
    fn evaluate_partitions<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        if entry.completed >= entry.job.count && !entry.job_type.is_long_running() {
            self.complete_job(entry, now, out);
            return;
        }
        if entry.unplaced.is_empty() {
            self.stop_waiting(entry);
            return;
        }
        let placement = place::place(entry, &mut self.nodes, &self.settings, &mut self.random);
        for (partition, node_id) in &placement.chosen {
            self.create_execution(entry, *partition, node_id, DesiredState::Pending, now, out);
        }
        if placement.left_over.is_empty() {
            self.stop_waiting(entry);
            return;
        }
        if self.may_wait(entry, now) {
            // Waiting for its turn again: no text is needed, it is known to wait.
            let known = entry.queued_since.is_some() && entry.job.state.state_type == JobState::Queued;
            if !known && placement.chosen.is_empty() && entry.live.is_empty() {
                let shortage = place::explain(entry, &mut self.nodes, &self.settings, &placement.left_over);
                self.enter_queue(entry, &shortage, now, out);
            }
            self.wait(entry, now);
            return;
        }
        let shortage = place::explain(entry, &mut self.nodes, &self.settings, &placement.left_over);
        if shortage.room_would_help && !entry.live.is_empty() {
            // Its own executions hold the room; when they end it goes on.
            self.wait(entry, now);
        } else if self.node_may_return(entry) {
            self.wait(entry, now);
        } else {
            let event = shortage_event(entry, &shortage, now);
            self.fail_job(entry, event, now, out);
        }
    }

    /// Ops and daemon jobs: one execution on every matching node.
    fn evaluate_all_nodes<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let daemon = entry.job_type.is_long_running();
        let matching = self.nodes.matching(entry).into_iter();
        let matching: Vec<String> = matching.map(|n| n.state.info.node_id.clone()).collect();
        let targets: Vec<String> = matching
            .into_iter()
            .filter(|id| if daemon { self.daemon_needs(entry, id) } else { !entry.used.contains(id) })
            .collect();
        let (with_room, without_room): (Vec<_>, Vec<_>) = targets
            .into_iter()
            .partition(|id| self.nodes.has_room_for(entry, id, self.settings.oversubscription));
        if !with_room.is_empty() {
            record::running(entry, now, out);
        }
        for node_id in &with_room {
            self.create_execution(entry, 0, node_id, DesiredState::Running, now, out);
        }
        if !without_room.is_empty() || daemon {
            self.wait(entry, now);
            return;
        }
        if entry.used.is_empty() {
            self.no_node_matches(entry, now, out);
            return;
        }
        self.stop_waiting(entry);
        if !entry.live.is_empty() {
            return;
        }
        if entry.any_failed || entry.completed == 0 {
            let event = scheduling("Job failed because one or more executions failed", now);
            self.fail_job(entry, event, now, out);
        } else {
            self.complete_job(entry, now, out);
        }
    }

    /// An ops job that no node matches waits as long as it may, then fails.
    fn no_node_matches<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let shortage = place::explain(entry, &mut self.nodes, &self.settings, &[]);
        if self.may_wait(entry, now) {
            if entry.job.state.state_type != JobState::Queued {
                self.enter_queue(entry, &shortage, now, out);
            }
            self.wait(entry, now);
        } else if self.node_may_return(entry) {
            self.wait(entry, now);
        } else {
            let event = shortage_event(entry, &shortage, now);
            self.fail_job(entry, event, now, out);
        }
    }

    /// A daemon needs an execution on a node that has no live one and is not known to fail it.
    fn daemon_needs(&self, entry: &JobEntry, node_id: &str) -> bool {
        let tries = entry.failures.get(&(node_id.to_owned(), 0)).copied().unwrap_or(0);
        tries < self.settings.tries_per_node && !entry.live.values().any(|l| l.execution.node_id == node_id)
    }

    fn create_execution<T>(
        &mut self,
        entry: &mut JobEntry,
        partition: i64,
        node_id: &str,
        desired: DesiredState,
        now: i64,
        out: &mut Output<T>,
    ) {
        let id = self.new_id("e-");
        let execution = Execution {
            id: id.clone(),
            namespace: entry.job.namespace.clone(),
            eval_id: self.new_id(""),
            node_id: node_id.to_owned(),
            job_id: entry.job.id.clone(),
            job_version: entry.job.version,
            desired_state: State::new(desired),
            compute_state: State::new(ComputeState::New),
            partition_index: partition,
            create_time: now,
            ..Execution::default()
        };
        let mut live = Live {
            deadline: deadline(&self.settings, &execution, &entry.job, now),
            reserved: entry.request.clone(),
            pending: Some(PendingMessage::AskForBid),
            execution,
        };
        record::put_execution(&mut live, now, out);
        self.nodes.reserve(node_id, &entry.job.id, &id, &live.reserved);
        self.owner.insert(id.clone(), entry.job.id.clone());
        entry.add(live);
        let event = scheduling(format!("Requested execution on {}", ids::short(node_id)), now)
            .with(detail::NODE_ID, node_id);
        execution_event(entry, &id, event, now, out);
        out.effects.push(Effect::Send {
            node_id: node_id.to_owned(),
            execution_id: id,
            kind: PendingMessage::AskForBid,
        });
    }

    /// True while the job's queue timeout lets it wait. It counts from the moment the job had to wait.
    pub(crate) fn may_wait(&self, entry: &JobEntry, now: i64) -> bool {
        let limit = entry.queue_timeout();
        limit > 0 && entry.queued_since.is_none_or(|since| now < since.saturating_add(limit))
    }

    /// True when a node that could run the job is expected back soon.
    fn node_may_return(&self, entry: &JobEntry) -> bool {
        self.nodes.iter().any(|n| {
            n.lose_work_at.is_some()
                && n.state.membership == Membership::Approved
                && suitable::unsuitable(entry, n).is_none()
        })
    }

    fn wait(&mut self, entry: &mut JobEntry, now: i64) {
        entry.queued_since.get_or_insert(now);
        self.waiting.insert(entry, self.may_wait(entry, now), &self.settings);
    }

    fn stop_waiting(&mut self, entry: &mut JobEntry) {
        entry.queued_since = None;
        self.waiting.remove(&entry.job.id);
    }

    fn enter_queue<T>(&mut self, entry: &mut JobEntry, shortage: &Shortage, now: i64, out: &mut Output<T>) {
        let text = format!("Job queued. {}", shortage.text(entry.job_type.is_on_all_nodes()));
        record::set_state(entry, State::with_message(JobState::Queued, text.clone()), now, out);
        let event = Event::new(topic::QUEUEING, text, Time::from_unix_nanos(now));
        record::job_event(entry, event, now, out);
    }

    /// One timer per job: the earliest of everything that can become due.
    fn set_timer(&mut self, entry: &JobEntry, now: i64) {
        let executions = entry.next_deadline;
        let total = match (entry.total_timeout(), entry.job_type.is_long_running()) {
            (0, _) | (_, true) => i64::MAX,
            (limit, false) => entry.version_started.saturating_add(limit),
        };
        let queue = match (entry.queue_timeout(), entry.queued_since) {
            (limit, Some(since)) if limit > 0 => since.saturating_add(limit),
            _ => i64::MAX,
        };
        // A queue timeout that is over has been acted upon; the job waits for its own executions now.
        let queue = if queue <= now { i64::MAX } else { queue };
        let more_to_place = !self.waiting.contains(&entry.job.id) && !entry.unplaced.is_empty();
        // A moment later, so that a batch of inputs at one time places no more than a step.
        let at = if more_to_place { now.saturating_add(1) } else { executions.min(total).min(queue) };
        self.timers.set(Due::Job(entry.job.id.clone()), (at < i64::MAX).then_some(at));
    }
}

fn shortage_event(entry: &JobEntry, shortage: &Shortage, now: i64) -> Event {
    let on_all = entry.job_type.is_on_all_nodes();
    scheduling(shortage.text(on_all), now)
        .with(detail::IS_ERROR, "true")
        .with(detail::RETRYABLE, "true")
        .with("NodesRequested", shortage.requested.to_string())
        .with("NodesAvailable", shortage.available.to_string())
        .with("NodesSuitable", shortage.suitable.to_string())
}
