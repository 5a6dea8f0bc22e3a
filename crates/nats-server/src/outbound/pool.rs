//! Memory for what waits: chunks of one size that are used again and again, and blocks that several queues share. Counts
//! what all queues of a thread hold together, a shared block once.

use std::sync::Arc;

/// Size of a chunk, in bytes.
pub(super) const CHUNK: usize = 64 * 1024;
/// Free chunks kept for reuse: 4 MiB.
const MAX_FREE: usize = 64;

/// Bytes in several queues at once. Each holder gives it back to the pool that made it.
pub(crate) type Block = Arc<Vec<u8>>;

/// Free chunks, and what is in use.
#[derive(Default)]
pub(crate) struct ChunkPool {
    pub(super) free: Vec<Vec<u8>>,
    /// Chunks that are in use.
    lent: usize,
    /// Bytes of blocks that are in use.
    shared: usize,
}

impl ChunkPool {
    /// Bytes of memory that all queues hold.
    pub(crate) fn lent(&self) -> usize {
        self.lent * CHUNK + self.shared
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.lent += 1;
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    pub(super) fn give(&mut self, mut chunk: Vec<u8>) {
        self.lent -= 1;
        if self.free.len() < MAX_FREE {
            chunk.clear();
            self.free.push(chunk);
        }
    }

    /// Makes a block; to be given back with [`ChunkPool::release`], as every clone of it.
    pub(crate) fn share(&mut self, bytes: Vec<u8>) -> Block {
        self.shared += bytes.len();
        Arc::new(bytes)
    }

    /// One holder less.
    pub(crate) fn release(&mut self, block: Block) {
        if let Some(last) = Arc::into_inner(block) {
            self.shared -= last.len();
        }
    }
}
