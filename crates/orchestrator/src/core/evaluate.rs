//! Looks at one job and does what is due: timeouts, then what its type asks for, then its timer.

use super::Core;
use super::depends;
use super::end::{self, Cause};
use super::entry::JobEntry;
use super::io::Output;
use super::live::Live;
use super::place::Shortage;
use super::record::{self, scheduling};
use super::settings::Settings;
use super::suitable;
use super::timers::Due;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::execution::DesiredState;
use bacalhau_model::state::State;
use bacalhau_model::{Event, Job, JobState, Membership, Time};

/// When the execution's present phase, which begins now, is overdue: the bid unanswered, or the run longer than its limit.
/// Where the node tells when the task begins to run, the limit counts from there: what is downloaded before, and the time
/// in the node's queue, do not count.
pub(crate) fn deadline(settings: &Settings, live: &Live, job: &Job, now: i64) -> i64 {
    let execution = &live.execution;
    let limit = job.task().map_or(0, |t| t.timeouts.execution_limit()).max(0);
    let long_running = job.job_type().is_some_and(bacalhau_model::JobType::is_long_running);
    let asks = execution.desired_state.state_type == DesiredState::Pending;
    if asks && !execution.compute_state.state_type.is_executing() {
        now.saturating_add(settings.bid_timeout)
    } else if limit > 0 && !long_running && (execution.start_time > 0 || !live.tells_progress) {
        now.saturating_add(limit.saturating_mul(super::SECOND)).saturating_add(settings.timeout_slack)
    } else {
        i64::MAX
    }
}

impl Core {
    /// Does everything that is due for one job. Harmless when nothing is.
    pub(crate) fn evaluate<T>(&mut self, now: i64, job_id: &str, out: &mut Output<T>) {
        let Some(mut entry) = self.jobs.remove(job_id) else { return };
        if !entry.job.is_terminal() && self.is_held_back(&mut entry, now, out) {
            self.jobs.insert(job_id.to_owned(), entry);
            return;
        }
        if !entry.job.is_terminal() {
            self.timeouts(&mut entry, now, out);
        }
        if !entry.job.is_terminal() {
            entry.wake_rested(now);
            self.roll(&mut entry, now, out);
            if entry.job_type.is_on_all_nodes() && !self.everywhere.contains(job_id) {
                self.everywhere.insert(job_id.to_owned());
            }
            match entry.job_type.is_on_all_nodes() {
                false => self.evaluate_partitions(&mut entry, now, out),
                true => self.evaluate_all_nodes(&mut entry, now, out),
            }
        }
        if !entry.job.is_terminal() {
            self.watch_crash_loop(&mut entry, now, out);
            self.set_timer(&entry, now);
        }
        self.jobs.insert(job_id.to_owned(), entry);
    }

    /// Jobs with a schedule never run themselves, and others may have to wait for jobs they depend on.
    fn is_held_back<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) -> bool {
        if entry.job.schedule.is_some() {
            self.keep_schedule(entry, now, out);
            return true;
        }
        depends::waits(&entry.job) && self.waits_for_others(entry, now, out)
    }

    fn timeouts<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let total = entry.total_timeout();
        let overdue = total > 0 && now >= entry.version_started.saturating_add(total);
        if overdue && !entry.job_type.is_long_running() {
            let text = format!("Job timed out. Job took longer than {}", end::duration(total));
            self.fail_job(entry, end::timeout(topic::JOB_TIMEOUT, text, now), now, out);
            return;
        }
        let late: Vec<(String, bool)> = entry
            .live
            .overdue(now)
            .chain(entry.old.overdue(now))
            .map(|live| {
                let asked = live.execution.desired_state.state_type == DesiredState::Pending;
                (live.execution.id.clone(), asked)
            })
            .collect();
        for (id, asked) in late {
            let limit = Cause::ExecutionTimeout(entry.execution_timeout());
            self.stop_execution(entry, &id, if asked { Cause::BidTimeout } else { limit }, now, out);
        }
    }

    /// True while the job's queue timeout lets it wait. It counts from the moment the job had to wait.
    pub(crate) fn may_wait(&self, entry: &JobEntry, now: i64) -> bool {
        let limit = entry.queue_timeout();
        limit > 0 && entry.queued_since.is_none_or(|since| now < since.saturating_add(limit))
    }

    /// True when a node that could run the job is expected back: its connection broke a moment ago, or, while the job was
    /// under way, less than the disconnect timeout ago if it was used, or an operator took it out of service.
    pub(crate) fn node_may_return(&self, entry: &JobEntry) -> bool {
        let started = !entry.used.is_empty();
        self.nodes.iter().any(|n| {
            let was_used = n.gone_at.is_some() && entry.used.contains(&n.state.info.node_id);
            let comes_back = (n.lose_work_at.is_some() || was_used) && !n.state.cordoned;
            (comes_back || (started && n.state.cordoned))
                && n.state.membership == Membership::Approved
                && suitable::unsuitable(entry, n).is_none()
        })
    }

    pub(crate) fn wait(&mut self, entry: &mut JobEntry, now: i64) {
        entry.queued_since.get_or_insert(now);
        self.waiting.insert(entry, self.may_wait(entry, now), &self.settings);
    }

    pub(crate) fn stop_waiting(&mut self, entry: &mut JobEntry) {
        entry.queued_since = None;
        self.waiting.remove(&entry.job.id);
    }

    pub(crate) fn enter_queue<T>(
        &mut self,
        entry: &mut JobEntry,
        shortage: &Shortage,
        now: i64,
        out: &mut Output<T>,
    ) {
        let text = format!("Job queued. {}", shortage.text(entry.job_type.is_on_all_nodes()));
        record::set_state(entry, State::with_message(JobState::Queued, text.clone()), now, out);
        let event = Event::new(topic::QUEUEING, text, Time::from_unix_nanos(now));
        record::job_event(entry, event, now, out);
    }

    /// One timer per job: the earliest of everything that can become due.
    pub(crate) fn set_timer(&mut self, entry: &JobEntry, now: i64) {
        let executions = entry.live.next_deadline().min(entry.old.next_deadline());
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
        let rest = entry.retries.next_due().unwrap_or(i64::MAX);
        let proven = entry.next_proven(now).unwrap_or(i64::MAX);
        let more_to_place = !self.waiting.contains(&entry.job.id) && !entry.unplaced.is_empty();
        let soonest = executions.min(total).min(queue).min(rest).min(proven);
        // A moment later, so that a batch of inputs at one time places no more than a step.
        let at = if more_to_place { now.saturating_add(1) } else { soonest };
        self.timers.set(Due::Job(entry.job.id.clone()), (at < i64::MAX).then_some(at));
    }
}

/// Why the job found no nodes, as the event that fails it.
pub(crate) fn shortage_event(entry: &JobEntry, shortage: &Shortage, now: i64) -> Event {
    let on_all = entry.job_type.is_on_all_nodes();
    scheduling(shortage.text(on_all), now)
        .with(detail::IS_ERROR, "true")
        .with(detail::RETRYABLE, "true")
        .with("NodesRequested", shortage.requested.to_string())
        .with("NodesAvailable", shortage.available.to_string())
        .with("NodesSuitable", shortage.suitable.to_string())
}
