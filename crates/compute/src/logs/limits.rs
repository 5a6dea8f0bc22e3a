//! How much disk logs may take.

/// Largest segment, bytes. A reader that looks for the last lines walks over at most one that it does not need.
const LARGEST_SEGMENT: u64 = 8 << 20;

/// Bounds of the logs of a node, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Most for one execution: the newest part is kept.
    pub execution: u64,
    /// Most for all together. Those of executions that have ended go first, the oldest before the others.
    pub together: u64,
    /// All logs together leave so much of the disk free: the node's own records must always have room.
    pub keep_free: u64,
}

impl LogLimits {
    /// For a disk of this size: 1 GiB for one execution; together 10 GiB, or a quarter of a small disk; 512 MiB stay
    /// free, or a tenth of a small disk. Bacalhau 1.9 has no configuration keys for this.
    pub fn for_disk(total: u64) -> LogLimits {
        LogLimits {
            execution: 1 << 30,
            together: (total / 4).min(10 << 30),
            keep_free: (total / 10).min(512 << 20),
        }
    }

    /// Size at which a new segment begins: eight make the limit, or more where it is large.
    pub(super) fn segment(&self) -> u64 {
        (self.execution / 8).clamp(1, LARGEST_SEGMENT)
    }
}
