//! One node: what everybody may see of it, and what the core has set aside on it.

use super::tenants::Tenants;
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
    /// Live executions on it.
    pub executions: Tenants,
    /// When its work is given up if it does not come back, nanoseconds since 1970.
    pub lose_work_at: Option<i64>,
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
            executions: Tenants::default(),
            lose_work_at: None,
            silent_at: None,
        }
    }

    /// When there is something to do about it: it is silent for too long, does not come back, or its drain is over.
    pub fn due(&self) -> Option<i64> {
        let drain = self.state.drain.as_ref().filter(|_| !self.executions.is_empty());
        let times = [self.lose_work_at, self.silent_at, drain.map(|drain| drain.deadline.unix_nanos())];
        times.into_iter().flatten().min()
    }

    /// How much may be set aside in total.
    pub fn limit(&self, oversubscription: f64) -> Resources {
        self.state.info.compute_node_info.max_capacity.scaled(oversubscription)
    }

    /// True when `request` can be set aside on top of what is.
    pub fn has_room(&self, request: &Resources, oversubscription: f64) -> bool {
        self.has_room_for(request, 1, false, oversubscription)
    }

    /// True when `count` executions can be set aside. What waits in the node's queue beyond its capacity must be able to run
    /// once batch and ops executions have ended: next to services and daemons, which do not end, one has to fit as it is,
    /// and of those all (`lasting`).
    pub fn has_room_for(
        &self,
        request: &Resources,
        count: u32,
        lasting: bool,
        oversubscription: f64,
    ) -> bool {
        let all = if count == 1 { request.clone() } else { request.scaled(f64::from(count)) };
        let beside_lasting = if lasting { &all } else { request };
        self.reserved.plus(&all).fits_in(&self.limit(oversubscription))
            && self.lasting.plus(beside_lasting).fits_in(&self.limit(oversubscription.min(1.0)))
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
