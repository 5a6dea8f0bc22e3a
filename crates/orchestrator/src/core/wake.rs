//! Lets waiting jobs run when something became free, in the order of their turns and with bounded work in a step.

use super::Core;
use super::entry::JobEntry;
use super::everywhere::wants_execution;
use super::io::Output;
use super::node::NodeEntry;
use super::nodes::Nodes;
use super::timers::Due;
use super::waiting::Waiting;
use std::sync::Arc;

/// Pairs of a class and a node compared in one step at most; the pass goes on in the next one.
const MOST_LOOKS: usize = 50_000;

/// What a pass found.
enum Next {
    Job(Arc<str>),
    Nothing,
    NotNow,
}

impl Core {
    /// Asks the jobs that may profit from what became free, best first, until nobody does.
    pub(crate) fn wake_waiting<T>(&mut self, now: i64, out: &mut Output<T>) {
        let mut looks = MOST_LOOKS;
        loop {
            if !self.waiting.is_passing() {
                let gained = self.nodes.take_gained();
                if gained.is_empty() || self.waiting.is_empty() {
                    return;
                }
                self.waiting.begin_pass(gained);
                self.forget_useless();
            }
            match self.next_to_wake(&mut looks) {
                Next::Job(job_id) => {
                    self.evaluate(now, &job_id, out);
                    self.forget_useless();
                }
                Next::Nothing => {}
                Next::NotNow => {
                    self.timers.set(Due::Waiting, Some(now));
                    return;
                }
            }
        }
    }

    fn next_to_wake(&mut self, looks: &mut usize) -> Next {
        loop {
            if *looks == 0 {
                return Next::NotNow;
            }
            let Some(job_id) = self.waiting.next_in_pass() else { return Next::Nothing };
            let Some(entry) = self.jobs.get(&*job_id) else { continue };
            if profits(entry, &mut self.nodes, &self.waiting, self.settings.oversubscription, looks) {
                return Next::Job(job_id);
            }
        }
    }

    /// Nodes without room for even the smallest waiting job end their part in the pass.
    fn forget_useless(&mut self) {
        let (nodes, oversubscription) = (&self.nodes, self.settings.oversubscription);
        self.waiting.keep_gained(|waiting, slot| {
            let room = nodes.at(slot).map(|n| n.limit(oversubscription).minus(&n.reserved));
            room.is_some_and(|room| waiting.may_use(&room))
        });
    }
}

/// True when one of the nodes that can take more than before suits the job and has room for it.
fn profits(
    entry: &JobEntry,
    nodes: &mut Nodes,
    waiting: &Waiting,
    oversubscription: f64,
    looks: &mut usize,
) -> bool {
    let mut with_room = Vec::new();
    for slot in waiting.gained() {
        *looks = looks.saturating_sub(1);
        let node = nodes.at(slot);
        if node.is_some_and(|n| entry.fits_on(n, oversubscription) && !has_its_share(entry, n)) {
            with_room.push(slot);
        }
    }
    if with_room.is_empty() {
        *looks = looks.saturating_sub(1);
        return false;
    }
    let candidates = nodes.candidates(entry);
    with_room.into_iter().any(|slot| candidates.all.contains(slot))
}

/// A job that runs on every node wants nothing of one that has an execution of it, had one that it need not repeat, or
/// rests after a failure.
pub(crate) fn has_its_share(entry: &JobEntry, node: &NodeEntry) -> bool {
    entry.job_type.is_on_all_nodes() && !wants_execution(entry, &node.state.info.node_id)
}
