//! How often and when a failed attempt is made again.
//!
//! A slot is what a job wants one execution for: a partition, or a node for jobs that run on all nodes. After a failed
//! attempt a slot rests; the pause doubles with every failure in a row and starts anew once an execution ran for a
//! while. Everything here can be told from the executions in the store again.

use super::settings::SECOND;
use bacalhau_model::RetryPolicy;
use std::collections::{BTreeMap, BTreeSet};

/// An execution that ran for so long (nanoseconds), and for longer than the last pause, did not fail at its start: the
/// next failure is the first of a new row.
pub(crate) const STABLE: i64 = 60 * SECOND;
/// Failures in a row that make a crash loop.
pub(crate) const CRASH_LOOP: u32 = 3;

/// What a job wants one execution for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// A partition of a batch or service job.
    Partition(i64),
    /// A node of an ops or daemon job.
    Node(String),
}

/// What went wrong with a slot so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// Number of the latest attempt that ended without a result.
    pub attempts: u64,
    /// Failed attempts.
    pub failed: u32,
    /// Failed attempts since the last success or the last long run; 0 after either.
    pub in_a_row: u32,
    /// Those of them that were the execution's own and not its node's: they make pauses longer, and a crash loop.
    pub crashes: u32,
    /// Until when the slot rests, nanoseconds since 1970.
    pub not_before: i64,
    /// The last pause, nanoseconds.
    pub pause: i64,
    /// The last failure was the execution's own, not its node's.
    pub at_fault: bool,
    /// Why the last attempt failed.
    pub why: String,
}

/// A failed attempt.
pub(crate) struct Failure<'a> {
    /// Number of the attempt.
    pub(crate) attempt: u64,
    /// When it ended, nanoseconds since 1970.
    pub(crate) ended: i64,
    /// How long it took, nanoseconds.
    pub(crate) ran: i64,
    /// Its node is gone. Nobody's fault, so there is no pause.
    pub(crate) lost: bool,
    /// In words.
    pub(crate) why: &'a str,
}

/// The slots of a job that had trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    policy: Option<RetryPolicy>,
    streaks: BTreeMap<Slot, Streak>,
    resting: BTreeSet<(i64, Slot)>,
    /// Slots whose last attempt failed, by crashes in a row: a job is looked at often, and most of its slots are well.
    failing: BTreeSet<(u32, Slot)>,
    /// Those of them that failed as often as the policy allows.
    spent: BTreeSet<Slot>,
}

impl Retries {
    /// No trouble yet. Without a policy nothing rests and no limit applies.
    pub(crate) fn new(policy: Option<RetryPolicy>) -> Retries {
        Retries { policy, ..Retries::default() }
    }

    /// True when the job or its type says how to try again.
    pub(crate) fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// Number of the next attempt at the slot, from 1.
    pub(crate) fn next_attempt(&self, slot: &Slot) -> u64 {
        self.streaks.get(slot).map_or(1, |streak| streak.attempts + 1)
    }

    /// Changes what is known of a slot. What lists it follows.
    fn change(&mut self, slot: &Slot, change: impl FnOnce(&mut Streak)) {
        let Some(streak) = self.streaks.get_mut(slot) else { return };
        let place = |streak: &Streak| (streak.in_a_row > 0).then_some(streak.crashes);
        let before = place(streak);
        change(streak);
        let (after, failed) = (place(streak), i64::from(streak.failed));
        if before != after {
            before.map(|crashes| self.failing.remove(&(crashes, slot.clone())));
            after.map(|crashes| self.failing.insert((crashes, slot.clone())));
        }
        let most = self.policy.as_ref().map_or(0, |policy| policy.max_attempts);
        if most > 0 && failed >= most && after.is_some() {
            self.spent.insert(slot.clone());
        } else {
            self.spent.remove(slot);
        }
    }

    /// An attempt ended without a result and without being at fault: stopped, refused, moved.
    pub(crate) fn gave_up(&mut self, slot: Slot, attempt: u64) {
        let streak = self.streaks.entry(slot).or_default();
        streak.attempts = streak.attempts.max(attempt);
    }

    /// An attempt failed. Tells until when the slot rests.
    pub(crate) fn failed(&mut self, slot: Slot, failure: &Failure<'_>) -> Option<i64> {
        self.streaks.entry(slot.clone()).or_default();
        let policy = self.policy.clone();
        self.change(&slot, |streak| {
            streak.attempts = streak.attempts.max(failure.attempt);
            if policy.is_some() && failure.ran >= stable_after(policy.as_ref(), streak.crashes) {
                (streak.in_a_row, streak.crashes) = (0, 0);
            }
            streak.failed = streak.failed.saturating_add(1);
            streak.in_a_row = streak.in_a_row.saturating_add(1);
            streak.crashes = streak.crashes.saturating_add(u32::from(!failure.lost));
            failure.why.clone_into(&mut streak.why);
            streak.at_fault = !failure.lost;
        });
        let streak = self.streaks.get_mut(&slot)?;
        let pause = match (&self.policy, failure.lost) {
            (Some(policy), false) => policy.pause(streak.crashes).saturating_mul(SECOND),
            _ => 0,
        };
        self.resting.remove(&(streak.not_before, slot.clone()));
        streak.pause = pause;
        if pause == 0 {
            return None;
        }
        streak.not_before = failure.ended.saturating_add(pause);
        self.resting.insert((streak.not_before, slot));
        Some(streak.not_before)
    }

    /// The last failure of the slot, the loss of its node, was none.
    pub(crate) fn forgive(&mut self, slot: &Slot) {
        self.change(slot, |streak| {
            streak.failed = streak.failed.saturating_sub(1);
            streak.in_a_row = streak.in_a_row.saturating_sub(1);
            streak.crashes = streak.crashes.min(streak.in_a_row);
        });
    }

    /// The slot has an execution again: it does not rest.
    pub(crate) fn started(&mut self, slot: &Slot) {
        if let Some(streak) = self.streaks.get(slot) {
            self.resting.remove(&(streak.not_before, slot.clone()));
        }
    }

    /// An attempt succeeded, or runs for long enough.
    pub(crate) fn recovered(&mut self, slot: &Slot) {
        self.started(slot);
        self.change(slot, |streak| (streak.in_a_row, streak.crashes) = (0, 0));
    }

    /// No rest takes longer from now on than its pause: where the clock was set back between two lives, the end of the
    /// rest, by the clock of the former life, may be far away.
    pub(crate) fn rest_no_longer(&mut self, now: i64) {
        for (due, slot) in std::mem::take(&mut self.resting) {
            let Some(streak) = self.streaks.get_mut(&slot) else { continue };
            streak.not_before = due.min(now.saturating_add(streak.pause));
            self.resting.insert((streak.not_before, slot));
        }
    }

    /// Takes the slots whose rest is over.
    pub(crate) fn rested(&mut self, now: i64) -> Vec<Slot> {
        let mut slots = Vec::new();
        while self.resting.first().is_some_and(|(due, _)| *due <= now) {
            slots.extend(self.resting.pop_first().map(|(_, slot)| slot));
        }
        slots
    }

    /// When the next rest is over.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.resting.first().map(|(due, _)| *due)
    }

    /// Slots that had trouble.
    pub(crate) fn streaks(&self) -> impl Iterator<Item = (&Slot, &Streak)> {
        self.streaks.iter()
    }

    /// True while the slot may not be tried.
    pub(crate) fn is_resting(&self, slot: &Slot) -> bool {
        self.streaks.get(slot).is_some_and(|streak| self.resting.contains(&(streak.not_before, slot.clone())))
    }

    /// One more than the highest partition that had trouble.
    pub(crate) fn last_partition(&self) -> i64 {
        let last = self.streaks.range(..Slot::Node(String::new())).next_back();
        last.map_or(0, |(slot, _)| if let Slot::Partition(partition) = slot { partition + 1 } else { 0 })
    }

    /// True when the last attempt at the slot failed.
    pub(crate) fn is_failing(&self, slot: &Slot) -> bool {
        self.streaks.get(slot).is_some_and(|streak| streak.in_a_row > 0)
    }

    /// True when the last attempt at any slot failed.
    pub(crate) fn any_failing(&self) -> bool {
        !self.failing.is_empty()
    }

    /// How many slots there are whose last attempt failed.
    pub(crate) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// How many slots rest.
    pub(crate) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Why an execution failed that did not fail because of its node.
    pub(crate) fn why_at_fault(&self) -> Option<&str> {
        let mut failing = self.failing.iter().rev().filter_map(|(_, slot)| self.streaks.get(slot));
        failing.find(|streak| streak.at_fault).map(|streak| streak.why.as_str())
    }

    /// True when the policy allows another attempt at a slot that failed.
    pub(crate) fn may_try(&self, slot: &Slot) -> bool {
        let failed = self.streaks.get(slot).map_or(0, |streak| i64::from(streak.failed));
        self.policy.as_ref().is_some_and(|p| p.max_attempts == 0 || failed < p.max_attempts)
    }

    /// A slot that failed as often as the policy allows.
    pub(crate) fn exhausted(&self) -> Option<(&Slot, &Streak)> {
        self.spent.first().and_then(|slot| self.streaks.get_key_value(slot))
    }

    /// The slot with the most crashes in a row, if they make a crash loop. The loss of nodes makes none.
    pub(crate) fn crash_loop(&self) -> Option<(&Slot, &Streak)> {
        let (_, worst) = self.failing.last().filter(|(crashes, _)| *crashes >= CRASH_LOOP)?;
        self.streaks.get_key_value(worst)
    }

    /// How long (nanoseconds) an execution of the slot has to run until its failures are forgotten; `None` when there
    /// are none.
    pub(crate) fn probation(&self, slot: &Slot) -> Option<i64> {
        let streak = self.streaks.get(slot).filter(|streak| streak.in_a_row > 0)?;
        Some(stable_after(self.policy.as_ref(), streak.crashes))
    }
}

fn stable_after(policy: Option<&RetryPolicy>, crashes: u32) -> i64 {
    policy.map_or(0, |p| p.pause(crashes).saturating_mul(SECOND)).max(STABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(attempt: u64, ended: i64, ran: i64) -> Failure<'static> {
        Failure { attempt, ended: ended * SECOND, ran: ran * SECOND, lost: false, why: "boom" }
    }

    #[test]
    fn pauses_grow_and_a_long_run_starts_anew() {
        let mut retries = Retries::new(Some(RetryPolicy::keep_running()));
        let slot = Slot::Partition(0);
        assert_eq!(retries.next_attempt(&slot), 1);
        assert_eq!(retries.failed(slot.clone(), &failure(1, 10, 1)), Some(11 * SECOND));
        assert!(retries.is_resting(&slot) && retries.crash_loop().is_none());
        assert_eq!(retries.rested(11 * SECOND), std::slice::from_ref(&slot));
        assert!(!retries.is_resting(&slot));
        assert_eq!(retries.failed(slot.clone(), &failure(2, 20, 1)), Some(22 * SECOND));
        assert_eq!(retries.failed(slot.clone(), &failure(3, 30, 1)), Some(34 * SECOND));
        assert_eq!(retries.crash_loop().map(|(_, s)| s.crashes), Some(3));
        assert_eq!(retries.rested(34 * SECOND).len(), 1, "an older rest of the same slot does not linger");
        assert_eq!(retries.failed(slot.clone(), &failure(4, 500, 200)), Some(501 * SECOND));
        assert!(retries.crash_loop().is_none());
        assert_eq!(retries.next_attempt(&slot), 5);
    }

    #[test]
    fn a_limit_is_a_limit_and_a_lost_node_costs_no_pause() {
        let policy = RetryPolicy { max_attempts: 2, backoff: 5, ..RetryPolicy::default() };
        let mut retries = Retries::new(Some(policy));
        let slot = Slot::Node("n".into());
        assert_eq!(retries.failed(slot.clone(), &Failure { lost: true, ..failure(1, 1, 1) }), None);
        assert!(retries.may_try(&slot) && retries.exhausted().is_none());
        retries.failed(slot.clone(), &failure(2, 2, 1));
        assert!(!retries.may_try(&slot) && retries.exhausted().is_some());
        retries.recovered(&slot);
        assert!(retries.exhausted().is_none() && !retries.any_failing());
    }

    #[test]
    fn lost_nodes_are_no_crashes() {
        let mut retries = Retries::new(Some(RetryPolicy::keep_running()));
        let slot = Slot::Partition(0);
        for attempt in 1..6 {
            let lost = Failure { lost: true, ..failure(attempt, attempt as i64, 1) };
            assert_eq!(retries.failed(slot.clone(), &lost), None);
        }
        assert!(retries.crash_loop().is_none() && retries.any_failing());
        assert_eq!(retries.failed(slot.clone(), &failure(6, 10, 1)), Some(11 * SECOND), "the first pause");
    }

    proptest! {
        #[test]
        fn the_lists_agree_with_the_slots(max_attempts in 0..4_i64, steps in proptest::collection::vec((0..7u8, 0..4_i64, 0..100_i64), 0..60)) {
            let policy = RetryPolicy { max_attempts, backoff: 1, ..RetryPolicy::default() };
            let mut retries = Retries::new(Some(policy));
            for (number, (what, partition, ran)) in steps.into_iter().enumerate() {
                let slot = Slot::Partition(partition);
                match what {
                    0..=2 => drop(retries.failed(slot, &failure(1, number as i64, ran))),
                    3 => retries.recovered(&slot),
                    4 => retries.forgive(&slot),
                    5 => drop(retries.failed(slot, &Failure { lost: true, ..failure(1, number as i64, ran) })),
                    _ => drop(retries.rested(number as i64 * SECOND)),
                }
                let failing = retries.streaks.iter().filter(|(_, streak)| streak.in_a_row > 0);
                let listed: BTreeSet<_> = failing.map(|(slot, streak)| (streak.crashes, slot.clone())).collect();
                prop_assert_eq!(&retries.failing, &listed);
                let spent = |streak: &Streak| max_attempts > 0 && i64::from(streak.failed) >= max_attempts;
                let spent = listed.iter().filter(|(_, slot)| spent(&retries.streaks[slot]));
                prop_assert_eq!(&retries.spent, &spent.map(|(_, slot)| slot.clone()).collect());
            }
        }
    }
}
