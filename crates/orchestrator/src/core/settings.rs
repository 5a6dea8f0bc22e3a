//! Numbers that decide how the core behaves.

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// Settings of the core. Durations are nanoseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// ID of this orchestrator.
    pub node_id: String,
    /// New nodes wait for approval (`Orchestrator.NodeManager.ManualApproval`).
    pub manual_approval: bool,
    /// No sign of life for this long means gone (`Orchestrator.NodeManager.DisconnectTimeout`).
    pub disconnect_timeout: i64,
    /// How long the work of a node whose connection broke may wait for it to come back
    /// (`Orchestrator.NodeManager.ReconnectGrace`).
    pub reconnect_grace: i64,
    /// An ask without an answer for this long counts as a failed attempt.
    pub bid_timeout: i64,
    /// How much later than the node itself the orchestrator enforces an execution timeout.
    pub timeout_slack: i64,
    /// A node may hold this many times its capacity, so that its queue is never empty while work waits.
    pub oversubscription: f64,
    /// Attempts of one partition on one node, the first included.
    pub tries_per_node: u32,
    /// Executions created in one step; the rest follows in the next, so that no step takes long.
    pub placements_per_step: usize,
    /// How long and how much is kept (`Orchestrator.Retention`).
    pub retention: super::Retention,
}

impl Settings {
    /// A node that is alive dials again within a quarter of a second. What does not come back soon after is replaced; if it
    /// comes back before that happened, its work is adopted.
    pub const USUAL_RECONNECT_GRACE: i64 = SECOND * 3 / 2;
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node_id: String::new(),
            manual_approval: false,
            disconnect_timeout: 60 * SECOND,
            reconnect_grace: Settings::USUAL_RECONNECT_GRACE,
            bid_timeout: 120 * SECOND,
            timeout_slack: 30 * SECOND,
            oversubscription: 1.5,
            tries_per_node: 2,
            placements_per_step: 256,
            retention: super::Retention::default(),
        }
    }
}
