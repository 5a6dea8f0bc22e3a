//! What the core decided, counted since the process started.

/// Figures that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Executions that the node offered to run, or ran at once because it had been told to.
    pub bids_made: u64,
    /// Executions that it did not want.
    pub bids_refused: u64,
    /// Executions of which it could not find out whether it wants them.
    pub bids_failed: u64,
}
