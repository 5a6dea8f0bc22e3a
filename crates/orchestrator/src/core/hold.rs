//! Keeps a node free for a large job that has waited long: small ones would otherwise take all room that becomes free.
//!
//! One node at a time, for the job whose turn it is among those that have waited [`Settings::hold_after`], and only
//! where the job will fit once batch and ops executions have ended. Jobs that no node could ever take hold none.
//!
//! [`Settings::hold_after`]: super::Settings::hold_after

use super::fleet::Loads;
use super::node::NodeEntry;
use super::place;
use super::timers::Due;
use super::wake::has_its_share;
use super::{Core, SECOND};

/// Between two looks whether some job has waited for too long.
const EVERY: i64 = 10 * SECOND;
/// Jobs looked at each time at most.
const MOST_JOBS: usize = 1_000;
/// Nodes looked at for one job at most, the least loaded first.
const MOST_NODES: usize = 32;

/// When to look, and how many executions the held node had of the job when it was held.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    due: i64,
    had: usize,
}

impl Core {
    /// Lets the held node go when that has served its purpose, and holds one when somebody needs it. True when a node
    /// was let go: waiting jobs may profit.
    pub(crate) fn see_to_hold(&mut self, now: i64) -> bool {
        if let Some((slot, job_id)) = self.nodes.held() {
            let node = self.nodes.at(*slot).filter(|node| node.state.is_schedulable());
            let leader = self.waiting.leader(job_id);
            let oversubscription = self.settings.oversubscription;
            // With room for it, it would have been placed by now: that is not what it waits for, or not any more.
            let lacks_room = |node: &NodeEntry| {
                self.jobs.get(job_id).is_some_and(|entry| !entry.fits_on(node, oversubscription))
            };
            if let (Some(node), Some(leader)) = (node, leader)
                && node.executions.of_job(job_id).count() <= self.hold.had
                && lacks_room(node)
            {
                if **leader != **job_id {
                    // One that asks for the same and goes before it has come: of a class only the first is asked.
                    self.hold.had = node.executions.of_job(leader).count();
                    let held = Some((*slot, leader.to_string()));
                    self.nodes.hold(held);
                }
                return false;
            }
            self.nodes.hold(None);
            self.hold.due = now;
            return true;
        }
        if self.waiting.is_empty() || now < self.hold.due {
            return false;
        }
        self.hold.due = now.saturating_add(EVERY);
        self.timers.set(Due::Waiting, Some(self.hold.due));
        let long_ago = now.saturating_sub(self.settings.hold_after);
        let late = self.waiting.heads().filter_map(|id| self.jobs.get(&**id)).take(MOST_JOBS);
        let late: Vec<String> = late
            .filter(|entry| entry.queued_since.is_some_and(|since| since <= long_ago))
            .map(|entry| entry.job.id.clone())
            .collect();
        for job_id in late {
            if let Some((slot, had)) = self.node_to_hold(&job_id) {
                self.hold.had = had;
                self.nodes.hold(Some((slot, job_id)));
                break;
            }
        }
        false
    }

    /// The least loaded node that lacks room for the job only because of work that ends by itself.
    fn node_to_hold(&mut self, job_id: &str) -> Option<(usize, usize)> {
        let entry = self.jobs.get(job_id)?;
        let slots = self.nodes.candidates(entry).all;
        let mut loads = Loads::default();
        self.nodes.loads(&entry.request, &mut loads);
        let mut slots: Vec<usize> = slots.iter().collect();
        slots.sort_by_key(|slot| loads.of(*slot));
        let oversubscription = self.settings.oversubscription;
        let nodes = slots.into_iter().filter_map(|slot| Some((slot, self.nodes.at(slot)?)));
        let nodes = nodes.filter(|(_, node)| !has_its_share(entry, node));
        for (slot, node) in nodes.take(MOST_NODES) {
            if place::all_exhausted(entry, node, &self.settings) {
                continue;
            }
            if entry.fits_on(node, oversubscription) {
                // Not room is what it waits for.
                return None;
            }
            if entry.request.fits_in(&node.limit(oversubscription.min(1.0)).minus(&node.lasting)) {
                return Some((slot, node.executions.of_job(job_id).count()));
            }
        }
        None
    }
}
