//! Says for every node why it is or is not chosen for a job, by asking the placement itself.

use super::Core;
use super::backoff::Slot;
use super::entry::JobEntry;
use super::node::NodeEntry;
use super::settings::SECOND;
use super::versions::only_count_differs;
use super::{depends, end, place, suitable};
use bacalhau_model::explain::{Explanation, NodeVerdict, Verdict};
use bacalhau_model::{Connection, Job, JobType, Membership, NodeType};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Core {
    /// Explains a job: an unfinished one from its present state; a finished one as if it were run again; one without an
    /// ID, which is not submitted yet, as if it were submitted now. `None` when its type or its resources cannot be read.
    pub(crate) fn explain(&mut self, now: i64, job: &Job) -> Option<Explanation> {
        let is_held = self.jobs.get(&job.id).is_some_and(|held| !held.job.is_terminal());
        if is_held {
            let entry = self.jobs.remove(&job.id)?;
            let found = self.explain_entry(now, &entry, true);
            self.jobs.insert(job.id.clone(), entry);
            return Some(found);
        }
        if let Some(scaled) = self.scaled(job) {
            return Some(self.explain_scaled(now, &scaled));
        }
        let entry = JobEntry::new(Arc::new(job.clone()), 1, now)?;
        let mut found = self.explain_entry(now, &entry, false);
        found.summary.insert_str(0, &condition(job));
        Some(found)
    }

    /// The bookkeeping of an unfinished job with another count, if that is all that a submission would change of it.
    fn scaled(&self, job: &Job) -> Option<JobEntry> {
        let held = self.jobs.get(self.job_named(&job.namespace, &job.name)?).filter(|_| job.id.is_empty())?;
        let scales = held.goes_on() && !held.job_type.is_on_all_nodes();
        if !scales || !only_count_differs(&held.job, job) {
            return None;
        }
        let mut entry = JobEntry::clone(held);
        entry.job = Arc::new(Job { count: job.count, id: String::new(), ..Job::clone(&held.job) });
        for id in held.surplus(job.count) {
            entry.live.remove(&id);
            entry.old.remove(&id);
        }
        entry.done.truncate(job.count);
        entry.recount();
        Some(entry)
    }

    /// What goes on and what is new when only the count changes.
    fn explain_scaled(&mut self, now: i64, entry: &JobEntry) -> Explanation {
        let mut found = self.explain_entry(now, entry, false);
        let go_on = entry.all_live().count();
        let others = if found.wanted == 0 { "Nothing else would run." } else { &found.summary };
        found.summary = format!("It would be scaled in place: {} would go on. {others}", many(go_on));
        found
    }

    fn explain_entry(&mut self, now: i64, entry: &JobEntry, held: bool) -> Explanation {
        let (wanted, would_get) = self.plan(entry);
        let placeable = would_get.values().sum();
        let is_compute = |n: &&NodeEntry| n.state.info.node_type == NodeType::Compute;
        let verdict = |node: &NodeEntry| {
            let would_get = would_get.get(&node.state.info.node_id).copied().unwrap_or(0);
            self.verdict(entry, node, (wanted, would_get))
        };
        let mut nodes: Vec<NodeVerdict> = self.nodes.iter().filter(is_compute).map(verdict).collect();
        nodes.sort_by(|a, b| (a.verdict, &a.node_id).cmp(&(b.verdict, &b.node_id)));
        let summary = self.summary(entry, held, (wanted, placeable), now);
        Explanation { job_id: entry.job.id.clone(), summary, wanted, placeable, nodes }
    }

    /// How many executions want a node, and how many each node would get if the job were looked at now.
    fn plan(&mut self, entry: &JobEntry) -> (usize, BTreeMap<String, usize>) {
        let mut would_get: BTreeMap<String, usize> = BTreeMap::new();
        if entry.job_type.is_on_all_nodes() {
            let targets = self.wanted_nodes(entry);
            let wanted = targets.len();
            let with_room = targets
                .into_iter()
                .filter(|id| self.nodes.has_room_for(entry, id, self.settings.oversubscription));
            would_get.extend(with_room.map(|id| (id, 1)));
            return (wanted, would_get);
        }
        // The same choice as the scheduler's, with the same chance for equal nodes.
        let placement = place::place(entry, &mut self.nodes, &self.settings, &mut self.random.clone());
        for (_, node) in placement.chosen {
            *would_get.entry(node).or_default() += 1;
        }
        (entry.unplaced.len(), would_get)
    }

    fn verdict(
        &self,
        entry: &JobEntry,
        node: &NodeEntry,
        (wanted, would_get): (usize, usize),
    ) -> NodeVerdict {
        let node_id = node.state.info.node_id.clone();
        let live = entry.live_on(&node_id);
        let (verdict, reason) = if live > 0 {
            let more = if would_get > 0 { format!(", gets {would_get} more") } else { String::new() };
            (Verdict::Running, format!("{live} live {}{more}", executions(live)))
        } else if let Some(why) = unavailable(node) {
            (Verdict::Unavailable, why)
        } else if let Some(why) = suitable::unsuitable(entry, node) {
            (Verdict::Unsuitable, why)
        } else if would_get > 0 {
            (Verdict::Chosen, format!("gets {}", many(would_get)))
        } else if self.nodes.slot(&node_id).is_some_and(|slot| self.nodes.is_held_from(slot, entry)) {
            (Verdict::Busy, place::KEPT_FREE.to_owned())
        } else if !entry.fits_on(node, self.settings.oversubscription) {
            (Verdict::Busy, place::busy(node))
        } else {
            (Verdict::Possible, why_not_chosen(entry, node, wanted))
        };
        NodeVerdict { node_id, verdict, reason, live, would_get }
    }

    fn summary(
        &mut self,
        entry: &JobEntry,
        held: bool,
        (wanted, placeable): (usize, usize),
        now: i64,
    ) -> String {
        let waits = self.waiting.contains(&entry.job.id);
        let mut shortage = || {
            let left_over = entry.unplaced.first(self.settings.placements_per_step);
            place::explain(entry, &mut self.nodes, &self.settings, &left_over)
                .text(entry.job_type.is_on_all_nodes())
        };
        if !held {
            return match (wanted, placeable) {
                (0, _) if !entry.job_type.is_on_all_nodes() => {
                    "The job would have nothing to run.".to_owned()
                }
                (_, 0) => format!("The job could not run now: {}", shortage()),
                (wanted, placeable) if placeable < wanted => {
                    format!("{placeable} of {wanted} executions would run now: {}", shortage())
                }
                (1, _) => "1 execution would run now.".to_owned(),
                (wanted, _) => format!("All {wanted} executions would run now."),
            };
        }
        if entry.job.schedule.is_some() || depends::waits(&entry.job) {
            return entry.job.state.message.clone();
        }
        let live = entry.all_live().count();
        // An ops job does not place again what failed, so its failures are not among the rest.
        let failed = match entry.job_type {
            JobType::Ops => {
                format!("{} failed, ", entry.retries.failing().saturating_sub(entry.retries.resting()))
            }
            _ => String::new(),
        };
        let mut parts =
            vec![format!("{live} live, {} completed, {failed}{wanted} to be placed.", entry.completed)];
        if let Some(due) = entry.retries.next_due() {
            // Rounded up: what is due in half a second is not due now.
            let pause = end::duration((due - now).max(0).saturating_add(SECOND - 1));
            parts.push(match entry.retries.resting() {
                1 => format!("1 failed, its next attempt is made in {pause}."),
                many => format!("{many} failed, the next attempt is made in {pause}."),
            });
        }
        if wanted > placeable && waits {
            parts.push(format!("It waits: {}", shortage()));
        }
        parts.join(" ")
    }
}

fn executions(count: usize) -> &'static str {
    if count == 1 { "execution" } else { "executions" }
}

fn many(count: usize) -> String {
    format!("{count} {}", executions(count))
}

/// Under which condition a job that does not run would do what the explanation says.
fn condition(job: &Job) -> String {
    if !job.id.is_empty() {
        return format!("The job is {}. If it ran again: ", job.state.state_type);
    }
    if job.schedule.is_some() {
        return "It runs when its schedule says so. If a run was due: ".to_owned();
    }
    let others: Vec<&str> = job.depends_on.iter().map(|other| other.job.as_str()).collect();
    match others.as_slice() {
        [] => String::new(),
        others => format!("It waits until {} ended. If it started: ", others.join(", ")),
    }
}

/// Why the node gets no work of anybody.
fn unavailable(node: &NodeEntry) -> Option<String> {
    let state = &node.state;
    let link = &state.connection_state;
    match state.membership {
        Membership::Approved => {}
        Membership::Rejected => return Some("node is rejected".to_owned()),
        _ => return Some("node waits for approval".to_owned()),
    }
    if link.status != Connection::Connected {
        return Some(match link.last_error.as_str() {
            "" => "node is not connected".to_owned(),
            why => format!("node is not connected: {why}"),
        });
    }
    match (state.cordoned, &state.drain) {
        (true, Some(_)) => Some("node is drained".to_owned()),
        (true, None) => Some("node is cordoned".to_owned()),
        _ => None,
    }
}

/// Why a node that could run the job gets nothing of it.
fn why_not_chosen(entry: &JobEntry, node: &NodeEntry, wanted: usize) -> String {
    let info = &node.state.info;
    let slot = Slot::Node(info.node_id.clone());
    if entry.job_type.is_on_all_nodes() {
        return match (entry.retries.is_resting(&slot), entry.retries.is_failing(&slot)) {
            (true, _) => "its execution here failed and is tried again later".to_owned(),
            (false, true) => "its execution here failed".to_owned(),
            (false, false) if entry.used.contains(&info.node_id) => "it ran here already".to_owned(),
            (false, false) => "nothing is left to place".to_owned(),
        };
    }
    if wanted == 0 && entry.retries.resting() > 0 {
        return "what failed is tried again later".to_owned();
    }
    if wanted == 0 {
        return "nothing is left to place".to_owned();
    }
    if entry.failures.keys().any(|(failed, _)| *failed == info.node_id) {
        return "an attempt failed here, so others come first".to_owned();
    }
    let mut favours = entry.job.constraints.iter().filter(|c| c.is_favour());
    if favours.any(|favour| !favour.matches_favour(&info.labels)) {
        return "does not meet what the job favours".to_owned();
    }
    "others are less loaded".to_owned()
}
