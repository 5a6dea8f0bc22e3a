//! Shared blocks between a queue's own bytes: where each belongs, and what is next to be written. Knows no chunks and no
//! sockets: own bytes are only counted.

use std::collections::VecDeque;

use super::pool::{Block, ChunkPool};

/// Blocks in the order of their places.
#[derive(Default)]
pub(super) struct Splice {
    blocks: VecDeque<Spliced>,
    /// Bytes of the first block that have been written.
    written: usize,
    /// The sum of all `own_before`.
    own_before: usize,
    /// Bytes of blocks that wait.
    len: usize,
}

struct Spliced {
    /// Own bytes between the block before, or the beginning of what waits, and this one.
    own_before: usize,
    block: Block,
}

/// What is to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// This many own bytes, or as many as there are.
    Own(usize),
    /// These bytes of a block.
    Block(&'a [u8]),
}

impl Splice {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes of blocks that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that its blocks have, whoever else shares them.
    pub(super) fn held(&self) -> usize {
        self.len + self.written
    }

    /// Adds a block behind `own_waiting` own bytes that wait in all.
    pub(super) fn push(&mut self, own_waiting: usize, block: Block) {
        let own_before = own_waiting - self.own_before;
        self.own_before = own_waiting;
        self.len += block.len();
        self.blocks.push_back(Spliced { own_before, block });
    }

    /// What waits, in order, without an end: behind the last block all bytes are own.
    pub(super) fn order(&self) -> impl Iterator<Item = Next<'_>> {
        let spliced = self.blocks.iter().enumerate().flat_map(|(number, spliced)| {
            let written = if number == 0 { self.written } else { 0 };
            let rest = spliced.block.get(written..).unwrap_or_default();
            [Next::Own(spliced.own_before), Next::Block(rest)]
        });
        spliced.chain(std::iter::once(Next::Own(usize::MAX)))
    }

    /// Notes that `count` bytes more were written; how many of them were own.
    pub(super) fn advance(&mut self, mut count: usize, pool: &mut ChunkPool) -> usize {
        let mut own = 0;
        while let Some(first) = self.blocks.front_mut() {
            let before = first.own_before.min(count);
            first.own_before -= before;
            self.own_before -= before;
            own += before;
            count -= before;
            let rest = first.block.len() - self.written;
            if first.own_before > 0 || count < rest {
                // Nothing of the block is written while own bytes are before it: then `count` is 0.
                self.written += count;
                self.len -= count;
                return own;
            }
            count -= rest;
            self.len -= rest;
            self.written = 0;
            if let Some(done) = self.blocks.pop_front() {
                pool.release(done.block);
            }
        }
        if self.blocks.capacity() > 0 {
            self.blocks = VecDeque::new();
        }
        own + count
    }
}
