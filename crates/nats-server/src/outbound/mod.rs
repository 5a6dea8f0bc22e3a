//! Bytes that wait for one receiver: a list of chunks borrowed from a pool that all connections of a thread share, and
//! between their bytes blocks that many receivers have in common. An idle connection holds none; after a burst the
//! memory goes back. It must never decide what to do about a slow receiver: it only counts.

mod pool;
mod splice;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use self::pool::CHUNK;
pub(crate) use self::pool::{Block, ChunkPool};
use self::splice::{Next, Splice};
use crate::proto::write::Put;

/// Slices given to one write call: 1 MiB of chunks, about what a socket takes at once.
const MAX_SLICES: usize = 16;
/// The same where blocks are between the chunks' bytes, which are short there.
const MAX_SPLICED: usize = 64;

/// The queue of one receiver.
#[derive(Default)]
pub(crate) struct Outbound {
    /// Full chunks in front of `open`.
    full: VecDeque<Vec<u8>>,
    /// The chunk being filled; no capacity when the queue is empty.
    open: Vec<u8>,
    /// Bytes of the first chunk that have been written.
    written: usize,
    /// Bytes that wait, blocks included.
    len: usize,
    /// Blocks between the bytes of the chunks.
    splice: Splice,
}

impl Outbound {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that it holds; a shared block counts for each that shares it.
    pub(crate) fn held(&self) -> usize {
        (self.full.len() + usize::from(self.open.capacity() > 0)) * CHUNK + self.splice.held()
    }

    /// Opens the queue for appending.
    #[inline]
    pub(crate) fn writer<'a>(&'a mut self, pool: &'a mut ChunkPool) -> Writer<'a> {
        Writer { queue: self, pool }
    }

    /// Appends a block of the pool that [`Outbound::writer`] is opened with.
    pub(crate) fn push(&mut self, block: Block) {
        let own_waiting = self.len - self.splice.len();
        self.len += block.len();
        self.splice.push(own_waiting, block);
    }

    /// Writes as much as `to` accepts. True: all is written; false: it would block.
    ///
    /// # Errors
    /// Those of `to` except "would block" and "interrupted".
    pub(crate) fn flush(&mut self, to: &mut impl Write, pool: &mut ChunkPool) -> io::Result<bool> {
        while self.len > 0 {
            let result = if !self.splice.is_empty() {
                let mut slices = [IoSlice::new(&[]); MAX_SPLICED];
                let count = self.spliced(&mut slices);
                to.write_vectored(slices.get(..count).unwrap_or_default())
            } else if self.full.is_empty() {
                to.write(self.open.get(self.written..).unwrap_or_default())
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                for (slice, chunk) in slices.iter_mut().zip(self.chunks()) {
                    *slice = IoSlice::new(chunk);
                }
                to.write_vectored(&slices)
            };
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count, pool),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Throws away what waits.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        self.advance(self.len, pool);
    }

    /// What waits in chunks.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let skips = std::iter::once(self.written).chain(std::iter::repeat(0));
        let chunks = self.full.iter().chain(std::iter::once(&self.open));
        chunks.zip(skips).map(|(chunk, skip)| chunk.get(skip..).unwrap_or_default())
    }

    /// Own bytes and blocks in their order, as far as there is room; how many slices.
    fn spliced<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SPLICED]) -> usize {
        let mut room = slices.iter_mut();
        let mut chunks = self.chunks();
        let mut chunk: &[u8] = &[];
        let mut put = |bytes: &'a [u8]| room.next().map(|slice| *slice = IoSlice::new(bytes));
        let mut count = 0;
        for next in self.splice.order() {
            let mut own = match next {
                Next::Own(own) => own,
                Next::Block(bytes) => {
                    if put(bytes).is_none() {
                        return count;
                    }
                    count += 1;
                    continue;
                }
            };
            while own > 0 {
                if chunk.is_empty() {
                    let Some(more) = chunks.next() else { break };
                    chunk = more;
                    continue;
                }
                let (now, later) = chunk.split_at_checked(own).unwrap_or((chunk, &[]));
                if put(now).is_none() {
                    return count;
                }
                count += 1;
                own -= now.len();
                chunk = later;
            }
        }
        count
    }

    fn advance(&mut self, count: usize, pool: &mut ChunkPool) {
        self.len = self.len.saturating_sub(count);
        self.written += if self.splice.is_empty() { count } else { self.splice.advance(count, pool) };
        while let Some(first) = self.full.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            if let Some(done) = self.full.pop_front() {
                pool.give(done);
            }
        }
        if self.len == 0 {
            self.written = 0;
            if self.open.capacity() > 0 {
                pool.give(std::mem::take(&mut self.open));
            }
            if self.full.capacity() > MAX_SLICES {
                self.full = VecDeque::new();
            }
        }
    }
}

/// Appends to a queue.
pub(crate) struct Writer<'a> {
    queue: &'a mut Outbound,
    pool: &'a mut ChunkPool,
}

impl Put for Writer<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        let open = &mut self.queue.open;
        if bytes.len() > open.capacity() - open.len() {
            return self.put_across(bytes);
        }
        open.extend_from_slice(bytes);
        self.queue.len += bytes.len();
    }
}

impl Writer<'_> {
    /// What does not fit into the open chunk goes on in the next.
    #[cold]
    fn put_across(&mut self, bytes: &[u8]) {
        self.queue.len += bytes.len();
        let mut rest = bytes;
        loop {
            let open = &mut self.queue.open;
            let room = open.capacity() - open.len();
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            open.extend_from_slice(now);
            if later.is_empty() {
                return;
            }
            rest = later;
            let done = std::mem::replace(&mut self.queue.open, self.pool.take());
            if !done.is_empty() {
                self.queue.full.push_back(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Accepts a given number of bytes per call, 0 meaning "would block".
    struct Trickle {
        got: Vec<u8>,
        accept: Vec<usize>,
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.accept.pop() {
                Some(0) => Err(ErrorKind::WouldBlock.into()),
                accept => {
                    let count = accept.unwrap_or(usize::MAX).min(bytes.len());
                    self.got.extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            pieces in proptest::collection::vec((prop_oneof![0usize..100, 0usize..100_000], any::<bool>()), 1..30),
            accept in proptest::collection::vec(prop_oneof![Just(0), 1usize..200_000], 0..12),
        ) {
            let (mut pool, mut queue) = (ChunkPool::default(), Outbound::default());
            let mut to = Trickle { got: Vec::new(), accept };
            let mut expected = Vec::new();
            for (at, (size, is_shared)) in pieces.into_iter().enumerate() {
                let piece: Vec<u8> = (0..size).map(|i| (i * 7 + at) as u8).collect();
                expected.extend_from_slice(&piece);
                if is_shared {
                    let block = pool.share(piece);
                    queue.push(block);
                } else {
                    queue.writer(&mut pool).put(&piece);
                }
                let done = queue.flush(&mut to, &mut pool).unwrap();
                prop_assert_eq!(done, queue.len() == 0);
                prop_assert_eq!(queue.len() + to.got.len(), expected.len());
                prop_assert_eq!(queue.held(), pool.lent());
                prop_assert!(queue.held() >= queue.len());
            }
            to.accept.clear();
            prop_assert!(queue.flush(&mut to, &mut pool).unwrap());
            prop_assert_eq!(to.got, expected);
            prop_assert_eq!(queue.open.capacity(), 0, "an empty queue holds no memory");
            prop_assert_eq!((queue.held(), pool.lent()), (0, 0));
        }
    }

    #[test]
    fn clear_gives_the_memory_back() {
        let (mut pool, mut queue) = (ChunkPool::default(), Outbound::default());
        queue.writer(&mut pool).put(&vec![1; 200_000]);
        queue.clear(&mut pool);
        assert_eq!((queue.len(), pool.free.len(), queue.open.capacity()), (0, 4, 0));
        assert_eq!((queue.held(), pool.lent()), (0, 0));
    }

    #[test]
    fn a_block_counts_once_and_goes_with_its_last_holder() {
        let (mut pool, mut first, mut second) =
            (ChunkPool::default(), Outbound::default(), Outbound::default());
        let block = pool.share(vec![1; 10_000]);
        first.push(block.clone());
        second.push(block.clone());
        pool.release(block);
        assert_eq!((first.held(), second.held(), pool.lent()), (10_000, 10_000, 10_000));
        first.clear(&mut pool);
        assert_eq!((first.held(), pool.lent()), (0, 10_000));
        second.clear(&mut pool);
        assert_eq!((second.held(), pool.lent()), (0, 0));
    }
}
