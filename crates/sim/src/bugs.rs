//! Known mistakes, one of which can be put into the simulated shells and disks of a run. The cores stay as they are.
//!
//! Each is a mistake that somebody could make, or made, in the code around a core. A harness that does not find them
//! proves nothing, so each has a test.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The orchestrator answers, acknowledges and sends before its changes are on disk.
    EffectsBeforeCommit,
    /// The orchestrator acknowledges a node's report as soon as it arrives.
    ReportsAcknowledgedEarly,
    /// A node acknowledges a message as soon as it arrives.
    MessagesAcknowledgedEarly,
    /// A restarting orchestrator does not know which cancellations were never acknowledged.
    CancellationsForgotten,
    /// A late report about an attempt that is over is taken for one about the attempt that replaced it.
    NoFencing,
    /// A transaction that a crash interrupts is on disk in part.
    TornTransactions,
    /// Commits of one host overtake each other.
    CommitsReordered,
    /// A node starts its engine before the start is on disk.
    RunsBeforeCommit,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::EffectsBeforeCommit,
        Bug::ReportsAcknowledgedEarly,
        Bug::MessagesAcknowledgedEarly,
        Bug::CancellationsForgotten,
        Bug::NoFencing,
        Bug::TornTransactions,
        Bug::CommitsReordered,
        Bug::RunsBeforeCommit,
    ];
}
