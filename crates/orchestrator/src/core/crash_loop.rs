//! A service or daemon of which an execution keeps failing says so in its state, until it runs for a while.

use super::Core;
use super::backoff::{Slot, Streak};
use super::end;
use super::entry::JobEntry;
use super::io::Output;
use super::live::Live;
use super::record::{self, scheduling};
use bacalhau_model::event::detail;
use bacalhau_model::{JobState, ids};

impl Core {
    /// Forgets the failures of what runs for long enough, and keeps the job's state honest about the others.
    pub(crate) fn watch_crash_loop<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        if !entry.job_type.is_long_running() {
            return;
        }
        if entry.retries.any_failing() {
            for slot in entry.proven(now) {
                entry.retries.recovered(&slot);
            }
        }
        // A job that waits for nodes says so; that is what its operator has to know first.
        if entry.job.state.state_type == JobState::Queued {
            return;
        }
        let is_known = entry.job.state.details.contains_key(detail::CRASH_LOOP);
        let Some(text) = entry.retries.crash_loop().map(|(slot, streak)| describe(slot, streak)) else {
            if is_known {
                let mut state = entry.job.state.clone();
                state.message.clear();
                state.details.remove(detail::CRASH_LOOP);
                record::set_state(entry, state, now, out);
                record::job_event(entry, scheduling("Crash loop is over", now), now, out);
            }
            return;
        };
        if is_known && entry.job.state.message == text {
            return;
        }
        let mut state = entry.job.state.clone();
        state.state_type = JobState::Running;
        state.message.clone_from(&text);
        state.details.insert(detail::CRASH_LOOP.to_owned(), "true".to_owned());
        record::set_state(entry, state, now, out);
        if !is_known {
            record::job_event(entry, scheduling(text, now).with(detail::IS_ERROR, "true"), now, out);
        }
    }
}

fn describe(slot: &Slot, streak: &Streak) -> String {
    let what = match slot {
        Slot::Partition(partition) => format!("partition {partition}"),
        Slot::Node(node) => format!("the execution on {}", ids::short(node)),
    };
    // After the loss of a node there was none.
    let pauses = match streak.pause {
        0 => String::new(),
        pause => format!(", with pauses of {} now", end::duration(pause)),
    };
    format!("Crash loop: {what} failed {} times in a row{pauses}. Last: {}", streak.crashes, streak.why)
}

impl JobEntry {
    /// How long a live execution has to go on until it counts as running well, as (slot, time). Only those that failed
    /// before have to prove anything.
    fn probations(&self) -> impl Iterator<Item = (Slot, i64)> {
        self.live.values().filter_map(|live: &Live| {
            let slot = self.slot(&live.execution);
            let needed = self.retries.probation(&slot)?;
            Some((slot, live.running_since()?.saturating_add(needed)))
        })
    }

    /// Slots whose execution has run for long enough.
    fn proven(&self, now: i64) -> Vec<Slot> {
        self.probations().filter(|(_, at)| *at <= now).map(|(slot, _)| slot).collect()
    }

    /// When the next live execution will have run for long enough, for services and daemons.
    pub(crate) fn next_proven(&self, now: i64) -> Option<i64> {
        if !self.job_type.is_long_running() {
            return None;
        }
        // Nearly always nothing failed, and then there is no need to look at all executions.
        let troubled = self.retries.any_failing().then(|| self.probations()).into_iter().flatten();
        let probations = troubled.map(|(_, at)| at).filter(|at| *at > now);
        probations.chain(self.next_healthy(now)).min()
    }
}
