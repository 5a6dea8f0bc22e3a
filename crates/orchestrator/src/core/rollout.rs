//! Rolling updates of services and daemons: old executions go a few at a time, each after the new ones before it have
//! proven that they run; on trouble everything goes back.
//!
//! The record of a rollout is the job itself: its metadata names the version it started from, its state says how far it
//! is, and the executions of the old version that still live are what is left to do.

use super::Core;
use super::end::Cause;
use super::entry::JobEntry;
use super::io::Output;
use super::live::Live;
use super::place::{self, Shortage};
use super::record::{self, scheduling};
use super::settings::SECOND;
use super::suitable;
use bacalhau_model::event::detail;
use bacalhau_model::{Event, Membership, UpdatePolicy};

impl Core {
    /// Goes on with the job's rolling update, if there is one.
    pub(crate) fn roll<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        if entry.previous.is_none() {
            return;
        }
        let policy = entry.job.update.clone().unwrap_or_default();
        if self.finds_no_node(entry, now, out) {
            return;
        }
        if entry.may_go_back()
            && let Some(why) = entry.retries.why_at_fault().map(str::to_owned)
        {
            self.revert(entry, &why, now, out);
            return;
        }
        let most = usize::try_from(policy.max_parallel.max(1)).unwrap_or(usize::MAX);
        let mut in_flux = self.in_flux(entry, &policy, now);
        while in_flux < most
            && let Some(id) = entry.next_old()
        {
            self.stop_execution(entry, &id, Cause::JobUpdated, now, out);
            in_flux += 1;
        }
        // Counted anew: with a smaller Count nothing takes the place of what was just stopped.
        if entry.old.is_empty() && self.in_flux(entry, &policy, now) == 0 {
            entry.previous = None;
            let mut state = entry.job.state.clone();
            state.details.remove(detail::ROLLOUT);
            if !entry.goes_back() {
                state.message.clear();
            }
            record::set_state(entry, state, now, out);
            record::job_event(entry, finished(now), now, out);
        } else {
            let all = match entry.job_type.is_on_all_nodes() {
                false => usize::try_from(entry.job.count).unwrap_or(usize::MAX),
                true => {
                    let missing = self.wanted_nodes(entry).len() + entry.retries.resting();
                    entry.live.len() + entry.old.len() + missing
                }
            };
            note_progress(entry, &policy, all, now, out);
        }
    }

    /// Executions of the new version that are missing or have not proven themselves yet.
    fn in_flux(&mut self, entry: &JobEntry, policy: &UpdatePolicy, now: i64) -> usize {
        let unproven = entry.live.values().filter(|live| !is_healthy(live, policy, now)).count();
        let missing = match entry.job_type.is_on_all_nodes() {
            false => entry.unplaced.len(),
            true => self.wanted_nodes(entry).len(),
        };
        unproven + missing + entry.retries.resting()
    }

    /// Takes back a rolling update that finds no place, if its policy says so: at once when no node that is known could
    /// run it, and otherwise when the time is over that the job may wait for nodes. True when it did.
    pub(crate) fn go_back_for_want_of_nodes<T>(
        &mut self,
        entry: &mut JobEntry,
        shortage: &Shortage,
        now: i64,
        out: &mut Output<T>,
    ) -> bool {
        // Only asked when the job may not wait: a queue timeout that there is, is over.
        if !entry.may_go_back() || (entry.queue_timeout() == 0 && self.some_node_could_run(entry)) {
            return false;
        }
        self.revert(entry, &shortage.text(false), now, out);
        self.dirty.insert(entry.job.id.clone());
        true
    }

    /// Takes back a rolling update that no node that is known could run, before anything is stopped for it. True when it
    /// did.
    fn finds_no_node<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) -> bool {
        let next = entry.old.values().map(|live| live.execution.partition_index).min();
        let Some(partition) = next.filter(|_| entry.may_go_back() && !entry.job_type.is_on_all_nodes())
        else {
            return false;
        };
        if entry.queue_timeout() > 0 || self.some_node_could_run(entry) {
            return false;
        }
        let shortage = place::explain(entry, &mut self.nodes, &self.settings, &[partition]);
        self.revert(entry, &shortage.text(false), now, out);
        self.dirty.insert(entry.job.id.clone());
        true
    }

    /// True when a node that is known, whether it is here or away, has what the job asks for.
    fn some_node_could_run(&self, entry: &JobEntry) -> bool {
        let mut members = self.nodes.iter().filter(|n| n.state.membership == Membership::Approved);
        members.any(|node| suitable::unsuitable(entry, node).is_none())
    }

    /// Back to the version that the update started from. What still runs of it goes on.
    fn revert<T>(&mut self, entry: &mut JobEntry, why: &str, now: i64, out: &mut Output<T>) {
        let Some(previous) = entry.previous.clone() else { return };
        let text = format!(
            "Rolling update of version {} failed, going back to version {}: {why}",
            entry.job.version, previous.version
        );
        let event =
            scheduling(text.clone(), now).with(detail::IS_ERROR, "true").with(detail::ROLLOUT, "failed");
        self.go_back(entry, &previous, (&text, event), now, out);
    }
}

/// True when the execution has run for as long as the policy wants.
fn is_healthy(live: &Live, policy: &UpdatePolicy, now: i64) -> bool {
    live.running_since().is_some_and(|since| now >= since.saturating_add(probation(policy)))
}

/// True when the execution has run for as long as its job's policy wants, so that it can serve until it is replaced.
pub(crate) fn serves(entry: &JobEntry, live: &Live, now: i64) -> bool {
    entry.job.update.as_ref().is_some_and(|policy| is_healthy(live, policy, now))
}

fn probation(policy: &UpdatePolicy) -> i64 {
    policy.healthy_after.max(0).saturating_mul(SECOND)
}

/// Writes down how far the update is, when that changed.
fn note_progress<T>(entry: &mut JobEntry, policy: &UpdatePolicy, all: usize, now: i64, out: &mut Output<T>) {
    let healthy = entry.live.values().filter(|live| is_healthy(live, policy, now)).count();
    let progress = format!("{healthy}/{all}");
    if entry.job.state.details.get(detail::ROLLOUT) != Some(&progress) {
        let mut state = entry.job.state.clone();
        state.details.insert(detail::ROLLOUT.to_owned(), progress);
        record::set_state(entry, state, now, out);
    }
}

impl JobEntry {
    /// True during a rolling update that its policy lets go back. One that is the way back itself goes on.
    fn may_go_back(&self) -> bool {
        let policy = self.job.update.as_ref().filter(|_| self.previous.is_some() && !self.goes_back());
        policy.is_some_and(|policy| policy.auto_revert)
    }

    /// The old execution to go next: the one with the lowest partition.
    fn next_old(&self) -> Option<String> {
        let next = self.old.values().min_by_key(|live| (live.execution.partition_index, &live.execution.id));
        next.map(|live| live.execution.id.clone())
    }

    /// During a rolling update: when the next execution will have proven that it runs.
    pub(crate) fn next_healthy(&self, now: i64) -> Option<i64> {
        let policy = self.job.update.as_ref().filter(|_| self.previous.is_some())?;
        let times = self.live.values().filter_map(Live::running_since);
        times.map(|since| since.saturating_add(probation(policy))).filter(|at| *at > now).min()
    }

    /// True when a new version of the job should replace its executions one after the other.
    pub(crate) fn should_roll(&self, spec: &bacalhau_model::Job) -> bool {
        self.job_type.is_long_running() && spec.update.is_some() && self.all_live().any(Live::is_approved)
    }
}

/// The line that starts the history of a rolling update.
pub(crate) fn started(from: u64, now: i64) -> Event {
    scheduling(format!("Rolling update from version {from} started"), now).with(detail::ROLLOUT, "started")
}

fn finished(now: i64) -> Event {
    scheduling("Rolling update finished", now).with(detail::ROLLOUT, "finished")
}
