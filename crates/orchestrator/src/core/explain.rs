//! Says for every node why it is or is not chosen for a job, by asking the placement itself.

use super::Core;
use super::entry::JobEntry;
use super::node::NodeEntry;
use super::{depends, end, place, suitable};
use bacalhau_model::explain::{Explanation, NodeVerdict, Verdict};
use bacalhau_model::{Connection, Job, Membership, NodeType};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Core {
    /// Explains a job: one that is held in memory from its present state, any other as if it were submitted now.
    /// `None` when its type or its resources cannot be read.
    pub(crate) fn explain(&mut self, now: i64, job: &Job) -> Option<Explanation> {
        let is_held = self.jobs.get(&job.id).is_some_and(|held| !held.job.is_terminal());
        if !is_held {
            let entry = JobEntry::new(Arc::new(job.clone()), 1, now)?;
            return Some(self.explain_entry(now, &entry, false));
        }
        let entry = self.jobs.remove(&job.id)?;
        let found = self.explain_entry(now, &entry, true);
        self.jobs.insert(job.id.clone(), entry);
        Some(found)
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
        let job_id = if held { entry.job.id.clone() } else { String::new() };
        Explanation { job_id, summary, wanted, placeable, nodes }
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
            (Verdict::Running, format!("{live} live {}", executions(live)))
        } else if let Some(why) = unavailable(node) {
            (Verdict::Unavailable, why)
        } else if let Some(why) = suitable::unsuitable(entry, node) {
            (Verdict::Unsuitable, why)
        } else if would_get > 0 {
            (Verdict::Chosen, format!("gets {would_get} {}", executions(would_get)))
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
                (wanted, _) => format!("All {wanted} executions would run now."),
            };
        }
        if entry.job.schedule.is_some() || depends::waits(&entry.job) {
            return entry.job.state.message.clone();
        }
        let live = entry.all_live().count();
        let mut parts = vec![format!("{live} live, {} completed, {wanted} to be placed.", entry.completed)];
        if let Some(due) = entry.retries.next_due() {
            let pause = end::duration((due - now).max(0));
            parts.push(format!("After failures the next attempt is made in {pause}."));
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
