//! One node: what everybody may see of it, and what the core has set aside on it.

use super::tenants::{Stay, Tenants};
use bacalhau_model::execution::Execution;
use bacalhau_model::{Connection, Membership, NodeInfo, NodeState, NodeType, Resources, Time};

/// A node and its bookings.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// What everybody may see of it.
    pub state: NodeState,
    /// Set aside for the live executions on it.
    pub reserved: Resources,
    /// The part of it that services and daemons hold, which no waiting makes free.
    pub lasting: Resources,
    /// What batch and ops executions hold that may wait in the node's queue: each amount, and how many hold as much.
    queued: Vec<(Resources, usize)>,
    /// Live executions on it.
    pub executions: Tenants,
    /// When its work is given up if it does not come back, nanoseconds since 1970.
    pub lose_work_at: Option<i64>,
    /// After its work was given up: until when jobs that nothing else can take wait for it, nanoseconds since 1970.
    pub gone_at: Option<i64>,
    /// When it counts as gone if nothing is heard of it, nanoseconds since 1970; `None` while it is disconnected.
    pub silent_at: Option<i64>,
}

impl NodeEntry {
    /// A node seen for the first time or read from the store.
    pub fn new(state: NodeState) -> NodeEntry {
        NodeEntry {
            state,
            reserved: Resources::default(),
            lasting: Resources::default(),
            queued: Vec::new(),
            executions: Tenants::default(),
            lose_work_at: None,
            gone_at: None,
            silent_at: None,
        }
    }

    /// When there is something to do about it: it is silent for too long, does not come back, or its drain is over.
    pub fn due(&self) -> Option<i64> {
        let drain = self.state.drain.as_ref().filter(|_| !self.executions.is_empty());
        let drain = drain.map(|drain| drain.deadline.unix_nanos());
        let times = [self.lose_work_at, self.gone_at, self.silent_at, drain];
        times.into_iter().flatten().min()
    }

    /// How much may be set aside in total.
    pub fn limit(&self, oversubscription: f64) -> Resources {
        self.state.info.compute_node_info.max_capacity.scaled(oversubscription)
    }

    /// Sets an amount aside for an execution; false when it has it already.
    pub(crate) fn reserve(&mut self, execution: &Execution, amount: &Resources, stay: Stay) -> bool {
        if !self.executions.insert(&execution.job_id, &execution.id, stay) {
            return false;
        }
        self.reserved = self.reserved.plus(amount);
        match stay {
            Stay::Lasting => self.lasting = self.lasting.plus(amount),
            Stay::Waiting => self.enqueue(amount),
            Stay::Runs => {}
        }
        true
    }

    /// The execution does not wait in the node's queue any more. True when nothing that asks for as much may wait there
    /// now: services may profit.
    pub(crate) fn begins(&mut self, execution: &Execution, amount: &Resources) -> bool {
        let stay = self.executions.stay_mut(&execution.job_id, &execution.id);
        let Some(stay) = stay.filter(|stay| **stay == Stay::Waiting) else { return false };
        *stay = Stay::Runs;
        self.dequeue(amount)
    }

    /// Gives back what [`NodeEntry::reserve`] set aside; false when there is nothing.
    pub(crate) fn release(&mut self, execution: &Execution, amount: &Resources) -> bool {
        let Some(stay) = self.executions.remove(&execution.job_id, &execution.id) else { return false };
        self.reserved = self.reserved.minus(amount);
        match stay {
            Stay::Lasting => self.lasting = self.lasting.minus(amount),
            Stay::Waiting => drop(self.dequeue(amount)),
            Stay::Runs => {}
        }
        true
    }

    /// Few amounts are different, so a list is enough.
    fn enqueue(&mut self, amount: &Resources) {
        match self.queued.iter_mut().find(|(known, _)| known == amount) {
            Some((_, count)) => *count += 1,
            None => self.queued.push((amount.clone(), 1)),
        }
    }

    /// True when it was the last of its size.
    fn dequeue(&mut self, amount: &Resources) -> bool {
        let Some(at) = self.queued.iter().position(|(known, _)| known == amount) else { return false };
        let is_last = self.queued.get_mut(at).is_some_and(|(_, count)| {
            *count -= 1;
            *count == 0
        });
        if is_last {
            self.queued.swap_remove(at);
        }
        is_last
    }

    /// True when `request` can be set aside on top of what is; see [`NodeEntry::has_room_for`].
    pub fn has_room(&self, request: &Resources, lasting: bool, oversubscription: f64) -> bool {
        self.has_room_for(request, 1, lasting, oversubscription)
    }

    /// True when `count` executions can be set aside; `lasting` when they are those of a service or daemon. What waits in
    /// the node's queue beyond its capacity must be able to run once batch and ops executions have ended: next to services
    /// and daemons, which do not end, one has to fit as it is. So what lasts has to fit all at once, and next to the
    /// largest of what may still wait in the queue: the node may start what lasts first.
    pub fn has_room_for(
        &self,
        request: &Resources,
        count: u32,
        lasting: bool,
        oversubscription: f64,
    ) -> bool {
        let all = if count == 1 { request.clone() } else { request.scaled(f64::from(count)) };
        if !self.reserved.plus(&all).fits_in(&self.limit(oversubscription)) {
            return false;
        }
        let most = self.limit(oversubscription.min(1.0));
        if !lasting {
            return self.lasting.plus(request).fits_in(&most);
        }
        let lasting = self.lasting.plus(&all);
        lasting.fits_in(&most) && self.queued.iter().all(|(amount, _)| lasting.plus(amount).fits_in(&most))
    }

    /// Share of the scarcest resource that would be in use with `request` on top, about 0 to 1.5.
    #[allow(clippy::cast_precision_loss)]
    pub fn load_with(&self, request: &Resources) -> f64 {
        let used = self.reserved.plus(request);
        let max = &self.state.info.compute_node_info.max_capacity;
        let share = |used: f64, max: f64| if max > 0.0 { used / max } else { 0.0 };
        share(used.cpu, max.cpu)
            .max(share(used.memory as f64, max.memory as f64))
            .max(share(used.disk as f64, max.disk as f64))
            .max(share(used.gpu as f64, max.gpu as f64))
    }
}

/// The state of a node that shakes hands for the first time.
pub(crate) fn first_seen(info: NodeInfo, manual_approval: bool) -> NodeState {
    let membership = if manual_approval { Membership::Pending } else { Membership::Approved };
    NodeState { info, membership, ..NodeState::default() }
}

/// Marks a node connected.
pub(crate) fn connect(state: &mut NodeState, now: i64) {
    let at = Time::from_unix_nanos(now);
    state.connection = Connection::Connected;
    let link = &mut state.connection_state;
    link.status = Connection::Connected;
    link.last_heartbeat = at;
    link.connected_since = at;
    link.last_error = String::new();
}

/// Marks a node disconnected and clears what it had free.
pub(crate) fn disconnect(state: &mut NodeState, now: i64, why: &str) {
    state.connection = Connection::Disconnected;
    let link = &mut state.connection_state;
    link.status = Connection::Disconnected;
    link.disconnected_since = Time::from_unix_nanos(now);
    link.last_error = why.to_owned();
    state.info.compute_node_info.available_capacity = Resources::default();
    state.info.compute_node_info.queue_capacity = Resources::default();
}

/// True for a node that runs executions.
pub(crate) fn is_compute(info: &NodeInfo) -> bool {
    info.node_type == NodeType::Compute
}
