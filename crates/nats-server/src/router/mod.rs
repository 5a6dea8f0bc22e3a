//! Interest: which subscriptions receive a message on a subject. Knows nothing of sockets or of bytes on the wire;
//! subscriptions are numbers here, and what they lead to is the caller's.
//!
//! A router belongs to one loop thread and is used without locks. Several threads would each hold a full one and tell
//! each other of SUB and UNSUB; nothing here is shared.
//!
//! Literal subjects live in one table whose rows hold their literal subscriptions *and* the cached result of matching.
//! A SUB or UNSUB on a literal subject touches its own row only. Wildcards live in a trie; a change there makes only
//! those rows stale that share the pattern's leading tokens (see `Generations`).

mod generations;
mod trie;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use crate::hash::{ByteMap, Keyed, shrink};
use crate::slab::Slab;
use crate::subject::has_wildcard;

use generations::{Generations, Watch};
use trie::Trie;

/// Number of a subscription, given by the caller.
pub(crate) type SubId = u32;

/// Subjects longer than this are matched afresh each time, so that long random subjects cannot fill memory.
const MAX_CACHED_SUBJECT: usize = 256;
/// A result with more wildcard subscriptions than this is made afresh each time: copying it costs about as much as
/// delivering to it, and keeping many such results would multiply subscriptions by subjects.
const MAX_CACHED_MATCHES: usize = 512;
/// Rows without a literal subscription that are kept.
const MAX_CACHED_ROWS: usize = 16 * 1024;

/// Who receives a message.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// Every one of these gets a copy.
    pub(crate) plain: Vec<SubId>,
    /// One member of each of these queue groups gets a copy; none is empty.
    pub(crate) groups: Vec<Vec<SubId>>,
}

/// A subscription as the router sees it.
struct Entry {
    pattern: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    /// Where it stands in the list of its row or node, so that removal needs no search.
    place: usize,
}

/// A literal subject: its subscriptions and the cached result.
struct Row {
    subject: Box<[u8]>,
    literal: Vec<SubId>,
    watch: Watch,
    /// The generations at which `matches` was made; `None`: stale.
    made_at: Option<u64>,
    matches: Matches,
    /// Asked for since the clock hand last came by.
    used: bool,
    /// In the queue of rows that may be evicted.
    evictable: bool,
}

/// The table of interest.
#[derive(Default)]
pub(crate) struct Router {
    entries: HashMap<SubId, Entry, Keyed>,
    by_subject: ByteMap<u32>,
    rows: Slab<Row>,
    wildcards: Trie,
    generations: Generations,
    clock: VecDeque<u32>,
    /// The row of the last lookup: publishers tend to repeat themselves.
    last: Option<u32>,
    /// Result for subjects that are not cached.
    uncached: Matches,
    found: Vec<SubId>,
    counts: Counts,
}

/// Counted since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    inserts: u64,
    removes: u64,
    lookups: u64,
    /// Lookups whose result had to be made.
    made: u64,
    /// Receivers in all results made, and in the largest; a queue group counts with all its members.
    fanout: u64,
    max_fanout: u64,
}

/// The figures of one table of interest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interest {
    pub(crate) subscriptions: u64,
    /// Literal subjects with a row, subscribed to or only looked up.
    pub(crate) cached: u64,
    pub(crate) inserts: u64,
    pub(crate) removes: u64,
    pub(crate) lookups: u64,
    /// Lookups that had to search.
    pub(crate) misses: u64,
    /// Receivers of all results of these searches, and of the largest of them.
    pub(crate) fanout: u64,
    pub(crate) max_fanout: u64,
}

impl Router {
    /// Number of subscriptions.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there nobody who could receive anything?
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Pattern and queue group of a subscription.
    pub(crate) fn pattern(&self, id: SubId) -> Option<(&[u8], Option<&[u8]>)> {
        let entry = self.entries.get(&id)?;
        Some((&entry.pattern, entry.queue.as_deref()))
    }

    /// The figures, for monitoring.
    pub(crate) fn interest(&self) -> Interest {
        let Counts { inserts, removes, lookups, made, fanout, max_fanout } = self.counts;
        let (subscriptions, cached) = (self.entries.len() as u64, self.by_subject.len() as u64);
        Interest { subscriptions, cached, inserts, removes, lookups, misses: made, fanout, max_fanout }
    }

    /// Adds subscription `id`, which must not be in use, on a valid pattern.
    pub(crate) fn insert(&mut self, id: SubId, pattern: &[u8], queue: Option<&[u8]>) {
        let place = if has_wildcard(pattern) {
            self.generations.bump(pattern);
            self.wildcards.insert(pattern, id)
        } else {
            self.insert_literal(pattern, id)
        };
        self.entries.insert(id, Entry { pattern: pattern.into(), queue: queue.map(Into::into), place });
        self.counts.inserts += 1;
    }

    fn insert_literal(&mut self, subject: &[u8], id: SubId) -> usize {
        let row = match self.by_subject.get(subject) {
            Some(row) => *row,
            None => self.add_row(subject),
        };
        let Some(row) = self.rows.get_mut(row) else { return 0 };
        row.literal.push(id);
        row.made_at = None;
        row.literal.len() - 1
    }

    /// Removes subscription `id`; unknown ones are ignored.
    pub(crate) fn remove(&mut self, id: SubId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        shrink(&mut self.entries);
        self.counts.removes += 1;
        let moved = if has_wildcard(&entry.pattern) {
            self.generations.bump(&entry.pattern);
            self.wildcards.remove(&entry.pattern, entry.place)
        } else {
            self.remove_literal(&entry.pattern, entry.place)
        };
        if let Some(moved) = moved.and_then(|moved| self.entries.get_mut(&moved)) {
            moved.place = entry.place;
        }
    }

    /// Returns the subscription that is at `place` now, if one moved there.
    fn remove_literal(&mut self, subject: &[u8], place: usize) -> Option<SubId> {
        let number = self.by_subject.get(subject).copied()?;
        let row = self.rows.get_mut(number)?;
        let moved = take_out(&mut row.literal, place);
        row.made_at = None;
        // A row in the eviction queue stays until its turn, so that the queue never names a row twice.
        if row.literal.is_empty() && !row.evictable {
            self.drop_row(number);
        }
        moved
    }

    /// Who receives a message on `subject`. Wildcards in it are ordinary names. The cost of the search is added to
    /// `work`, in steps of some ten nanoseconds.
    #[inline]
    pub(crate) fn matches(&mut self, subject: &[u8], work: &mut u64) -> &Matches {
        self.counts.lookups += 1;
        let known = match self.last.and_then(|last| self.rows.get(last).map(|row| (last, row))) {
            Some((last, row)) if *row.subject == *subject => Some(last),
            _ => self.by_subject.get(subject).copied(),
        };
        let number = match known {
            Some(number) => number,
            None if subject.len() > MAX_CACHED_SUBJECT => return self.matches_uncached(subject, work),
            None => {
                let number = self.add_row(subject);
                self.make_evictable(number);
                number
            }
        };
        self.last = Some(number);
        let Some(row) = self.rows.get_mut(number) else { return &self.uncached };
        row.used = true;
        let now = self.generations.read(row.watch);
        if row.made_at == Some(now) {
            return &row.matches;
        }
        self.found.clear();
        *work += self.wildcards.collect(subject, &mut self.found);
        *work += (row.literal.len() + self.found.len()) as u64;
        self.counts.made(row.literal.len() + self.found.len());
        if self.found.len() > MAX_CACHED_MATCHES {
            row.matches = Matches::default();
            row.made_at = None;
            self.uncached.fill(&self.entries, row.literal.iter().chain(&self.found));
            return &self.uncached;
        }
        row.matches.fill(&self.entries, row.literal.iter().chain(&self.found));
        row.made_at = Some(now);
        &row.matches
    }

    fn matches_uncached(&mut self, subject: &[u8], work: &mut u64) -> &Matches {
        self.found.clear();
        *work += self.wildcards.collect(subject, &mut self.found);
        *work += self.found.len() as u64;
        self.counts.made(self.found.len());
        self.uncached.fill(&self.entries, self.found.iter());
        &self.uncached
    }

    fn add_row(&mut self, subject: &[u8]) -> u32 {
        let row = self.rows.insert(Row {
            subject: subject.into(),
            literal: Vec::new(),
            watch: self.generations.watch(subject),
            made_at: None,
            matches: Matches::default(),
            used: false,
            evictable: false,
        });
        self.by_subject.insert(subject.into(), row);
        row
    }

    fn drop_row(&mut self, number: u32) {
        if let Some(row) = self.rows.remove(number) {
            self.by_subject.remove(&row.subject);
            shrink(&mut self.by_subject);
            if self.last == Some(number) {
                self.last = None;
            }
        }
    }

    /// Registers a row that only caches, and makes room: second chance for rows that were used since.
    fn make_evictable(&mut self, number: u32) {
        if let Some(row) = self.rows.get_mut(number) {
            row.evictable = true;
        }
        self.clock.push_back(number);
        while self.clock.len() > MAX_CACHED_ROWS {
            let Some(oldest) = self.clock.pop_front() else { return };
            let Some(row) = self.rows.get_mut(oldest) else { continue };
            if !row.literal.is_empty() {
                // It has become a real subject; its last UNSUB will remove it.
                row.evictable = false;
            } else if row.used && oldest != number {
                row.used = false;
                self.clock.push_back(oldest);
            } else if oldest == number {
                self.clock.push_back(oldest);
            } else {
                self.drop_row(oldest);
            }
        }
    }
}

impl Counts {
    /// A result with so many receivers was made.
    fn made(&mut self, receivers: usize) {
        self.made += 1;
        self.fanout += receivers as u64;
        self.max_fanout = self.max_fanout.max(receivers as u64);
    }
}

impl Matches {
    fn fill<'a>(&mut self, entries: &HashMap<SubId, Entry, Keyed>, ids: impl Iterator<Item = &'a SubId>) {
        self.plain.clear();
        self.groups.clear();
        let mut queued: Vec<(&[u8], SubId)> = Vec::new();
        for id in ids {
            match entries.get(id) {
                Some(Entry { queue: Some(queue), .. }) => queued.push((queue, *id)),
                Some(_) => self.plain.push(*id),
                None => {}
            }
        }
        // Sorted, the members of a group stand together, however many groups there are.
        queued.sort_unstable();
        for group in queued.chunk_by(|one, other| one.0 == other.0) {
            self.groups.push(group.iter().map(|(_, id)| *id).collect());
        }
    }
}

/// Takes the entry at `place` out of a list whose order is free; returns the one that is there now, if any.
fn take_out(list: &mut Vec<SubId>, place: usize) -> Option<SubId> {
    if place < list.len() {
        list.swap_remove(place);
    }
    list.get(place).copied()
}
