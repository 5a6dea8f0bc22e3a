//! What a restart must not change, in words, for the invariants of the simulation: a core that goes on and a fresh one
//! that was restored from the store must give the same.

use super::Core;
use super::backoff::Slot;
use super::entry::JobEntry;
use bacalhau_model::Resources;
use std::collections::{BTreeMap, BTreeSet};

impl Core {
    /// Subject to what is known about it, of every unfinished job, every node and every cancellation under way.
    ///
    /// Left out is what a restart may change: connections, time limits of attempts (they start anew), which messages
    /// were acknowledged (they are sent again) and cancellations of executions that no job ever had.
    pub fn audit(&self) -> BTreeMap<String, String> {
        let mut audit = BTreeMap::new();
        for (id, entry) in self.jobs.iter().filter(|(_, entry)| !entry.job.is_terminal()) {
            job(id, entry, &mut audit);
        }
        for node in self.nodes.iter() {
            let id = &node.state.info.node_id;
            audit.insert(format!("node {id} membership"), node.state.membership.as_str().to_owned());
            audit.insert(format!("node {id} reserved"), amounts(&node.reserved));
            audit.insert(format!("node {id} executions"), format!("{:?}", node.executions));
            audit.insert(format!("node {id} cordoned"), node.state.cordoned.to_string());
            audit.insert(format!("node {id} drain"), format!("{:?}", node.state.drain));
            audit.insert(format!("node {id} labels"), format!("{:?}", node.state.info.labels));
        }
        for (id, cancelled) in self.cancelled.iter().filter(|(_, c)| c.execution.job_version > 0) {
            audit.insert(format!("cancelled {id}"), format!("on {}", cancelled.execution.node_id));
        }
        audit.insert("draining".to_owned(), format!("{:?}", self.draining));
        audit.insert("owners".to_owned(), format!("{}", self.owner.len()));
        audit
    }
}

fn job(id: &str, entry: &JobEntry, audit: &mut BTreeMap<String, String>) {
    let mut add = |what: &str, value: String| audit.insert(format!("job {id} {what}"), value);
    // After scaling and going back, attempts of versions that are kept may count once more after a restart.
    let one_version = entry.kept.len() == 1;
    add("version", entry.job.version.to_string());
    add("state", format!("{:?}", entry.job.state));
    add("next history line", entry.next_history_seq.to_string());
    // One that rests counts as unplaced: how long it rests depends on who looked when.
    let rested = entry.retries.streaks().filter(|(slot, _)| entry.retries.is_resting(slot));
    let rested = rested.filter_map(|(slot, _)| match slot {
        Slot::Partition(partition) => Some(*partition).filter(|p| *p < entry.job.count),
        Slot::Node(_) => None,
    });
    let unplaced: BTreeSet<i64> = entry.unplaced.first(1_000).into_iter().chain(rested).collect();
    add("unplaced", format!("{unplaced:?}"));
    add("completed", entry.completed.to_string());
    if one_version {
        add("failures", format!("{:?}", entry.failures));
    }
    if one_version {
        add("refused", format!("{:?}", entry.refused));
    }
    if one_version {
        add("used", format!("{:?}", entry.used));
    }
    add("done", format!("{:?}", entry.done));
    add("kept versions", format!("{:?}", entry.kept));
    add("rolls from", format!("{:?}", entry.previous.as_ref().map(|job| job.version)));
    // Failures in a row are left out: a long run ends the row when somebody looks, and a restart looks at once.
    for (slot, streak) in entry.retries.streaks() {
        if one_version && streak.failed > 0 {
            add(&format!("trouble at {slot:?}"), format!("{} failed", streak.failed));
        }
    }
    for live in entry.all_live() {
        let e = &live.execution;
        let execution_id = &e.id;
        let value = format!(
            "{} {} on {} partition {} version {} attempt {} started {} revision {} holds {}",
            e.desired_state.state_type,
            e.compute_state.state_type,
            e.node_id,
            e.partition_index,
            e.job_version,
            e.attempt,
            e.start_time,
            e.revision,
            amounts(&live.reserved)
        );
        add(&format!("live {execution_id}"), value);
    }
}

/// Rounded: sums of fractions depend on their order.
fn amounts(r: &Resources) -> String {
    format!("{:.3} {} {} {}", r.cpu + 1e-9, r.memory, r.disk, r.gpu)
}
