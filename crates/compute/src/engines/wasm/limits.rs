//! Bounds what a guest may take from the host: memory and tables.

use super::error;
use bacalhau_model::Error;
use rustix::process::{Resource, getrlimit};
use wasmtime::ResourceLimiter;

/// Memory grows by whole pages of 64 KiB.
const PAGE: u64 = 64 * 1024;

/// A 32-bit module cannot have more: 4 GiB.
const MAX_MEMORY: u64 = 4 << 30;

/// Elements of all tables of one guest at most: ten times the functions of the largest programs. The host spends 8 bytes
/// on each.
pub(super) const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// Instances, memories and tables of one guest at most. Large components have tens of them.
const MAX_INSTANCES: usize = 1000;
const MAX_MEMORIES: usize = 100;
const MAX_TABLES: usize = 1000;

/// Open files, streams, sockets and requests of one guest at most: a quarter of what the process may open, as the node
/// and other guests need files too, and between 256 and 4096.
pub(super) fn max_resources() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(256, 4096)
}

/// Requested bytes rounded up to whole pages; 0 means the maximum.
///
/// # Errors
/// More than 4 GiB.
pub(super) fn memory_limit(requested: u64) -> Result<u64, Error> {
    if requested > MAX_MEMORY {
        let gigabytes = |bytes: u64| format!("{}.{:02}", bytes >> 30, ((bytes % (1 << 30)) * 100) >> 30);
        let message = format!(
            "requested memory exceeds the wasm limit - {} GB > {} GB",
            gigabytes(requested),
            gigabytes(MAX_MEMORY)
        );
        return Err(error(message).hint("Ask for at most 4GiB of memory in the task's Resources"));
    }
    if requested == 0 { Ok(MAX_MEMORY) } else { Ok(requested.div_ceil(PAGE).saturating_mul(PAGE)) }
}

/// Counts what one guest has taken.
#[derive(Debug)]
pub(super) struct Limits {
    limit: u64,
    used: u64,
    table_elements: usize,
    refused: Option<u64>,
    refused_table: bool,
}

impl Limits {
    /// Limits with this many bytes for all memories together.
    pub(super) fn new(limit: u64) -> Limits {
        Limits { limit, used: 0, table_elements: 0, refused: None, refused_table: false }
    }

    /// The limit in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// A table was refused to grow.
    pub(super) fn refused_table(&self) -> bool {
        self.refused_table
    }

    /// The total that was last refused, if any was.
    pub(super) fn refused(&self) -> Option<u64> {
        self.refused
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used.saturating_sub(current as u64).saturating_add(desired as u64);
        if total > self.limit {
            self.refused = Some(total);
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        if total > MAX_TABLE_ELEMENTS {
            self.refused_table = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_whole_pages_up_to_four_gib() {
        assert_eq!(memory_limit(0).unwrap(), 4 << 30);
        assert_eq!(memory_limit(1).unwrap(), 65_536);
        assert_eq!(memory_limit(4 << 30).unwrap(), 4 << 30);
        let error = memory_limit((5 << 30) + (1 << 29)).unwrap_err();
        assert_eq!(error.message, "requested memory exceeds the wasm limit - 5.50 GB > 4.00 GB");
    }

    #[test]
    fn several_memories_share_the_limit() {
        let mut limits = Limits::new(10 * PAGE);
        let page = usize::try_from(PAGE).unwrap();
        assert!(limits.memory_growing(0, 6 * page, None).unwrap());
        assert!(limits.memory_growing(0, 4 * page, None).unwrap());
        assert!(limits.refused().is_none());
        assert!(!limits.memory_growing(4 * page, 5 * page, None).unwrap());
        assert_eq!(limits.refused(), Some(11 * PAGE));
        assert!(limits.table_growing(0, 1000, None).unwrap());
        assert!(!limits.refused_table());
        assert!(!limits.table_growing(0, 1 << 20, None).unwrap());
        assert!(limits.refused_table());
    }
}
