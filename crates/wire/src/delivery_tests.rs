//! Tests of the outbox: its rules one by one, then all of them against random peers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const PATIENCE: Patience = Patience { window: 3, ack_timeout: 100, first_pause: 10, longest: 400 };

fn outbox(keys: std::ops::Range<u32>) -> Outbox<u32> {
    let mut outbox = Outbox::with_patience(40, PATIENCE);
    keys.for_each(|key| outbox.push(key));
    outbox
}

fn drain(outbox: &mut Outbox<u32>, now: i64) -> Vec<(u64, u32)> {
    std::iter::from_fn(|| outbox.poll(now)).map(|a| (a.seq, a.key)).collect()
}

#[test]
fn the_oldest_go_first_and_the_window_holds() {
    let mut outbox = outbox(0..5);
    assert!(outbox.next_wakeup().unwrap() <= 0);
    assert_eq!(drain(&mut outbox, 0), [(41, 0), (42, 1), (43, 2)]);
    assert_eq!(outbox.next_wakeup(), Some(100));
    assert_eq!(outbox.acked(42), Some(1));
    assert_eq!(drain(&mut outbox, 1), [(44, 3)]);
    assert_eq!((outbox.len(), outbox.last_seq()), (4, 44));
}

#[test]
fn acknowledgements_count_once_and_only_for_the_latest_attempt() {
    let mut outbox = outbox(0..1);
    assert_eq!(drain(&mut outbox, 0), [(41, 0)]);
    assert_eq!(drain(&mut outbox, 100), [(42, 0)]);
    assert_eq!(outbox.acked(41), None);
    assert_eq!(outbox.acked(42), Some(0));
    assert_eq!(outbox.acked(42), None);
    assert!(outbox.is_empty());
    assert_eq!(outbox.next_wakeup(), None);
}

#[test]
fn pauses_and_timeouts_double_up_to_the_longest() {
    let mut outbox = outbox(0..1);
    let mut now = 0;
    for pause in [10, 20, 40, 80, 160, 320, 400, 400] {
        let attempt = outbox.poll(now).unwrap();
        outbox.failed(attempt.seq, now);
        outbox.failed(attempt.seq, now);
        assert_eq!(outbox.next_wakeup(), Some(now + pause));
        assert_eq!(outbox.poll(now + pause - 1), None);
        now += pause;
    }
    let mut outbox = Outbox::with_patience(0, PATIENCE);
    outbox.push(0);
    for timeout in [100, 200, 400, 400] {
        outbox.poll(now).unwrap();
        now += timeout;
        assert_eq!(outbox.next_wakeup(), Some(now));
    }
}

#[test]
fn a_reset_starts_again_in_order() {
    let mut outbox = outbox(0..5);
    drain(&mut outbox, 0);
    outbox.failed(41, 0);
    assert_eq!(outbox.acked(42), Some(1));
    outbox.reset(1_000);
    assert_eq!(outbox.acked(43), None);
    assert_eq!(drain(&mut outbox, 1_000), [(44, 0), (45, 2), (46, 3)]);
}

#[test]
fn extreme_numbers_do_no_harm() {
    let mut outbox = Outbox::with_patience(u64::MAX - 1, Patience { window: 0, ..PATIENCE });
    outbox.push(1);
    outbox.push(2);
    assert_eq!(drain(&mut outbox, i64::MAX - 1), [(u64::MAX, 1)]);
    outbox.failed(u64::MAX, i64::MAX);
    assert_eq!(outbox.next_wakeup(), Some(i64::MAX));
}

/// What happens to an outbox.
#[derive(Clone, Debug)]
enum Step {
    Push,
    Poll,
    /// Of the n-th number handed out so far, known or not any more.
    Ack(usize),
    Fail(usize),
    Reset,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Push),
        6 => Just(Step::Poll),
        3 => (0..64_usize).prop_map(Step::Ack),
        2 => (0..64_usize).prop_map(Step::Fail),
        1 => Just(Step::Reset),
        2 => (1..300_i64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_rules_hold_for_any_peer(steps in steps()) {
        let mut outbox = Outbox::with_patience(40, PATIENCE);
        let (mut now, mut pushed, mut attempts) = (0, 0_u32, Vec::<Attempt<u32>>::new());
        let mut acked = BTreeSet::new();
        for step in steps {
            match step {
                Step::Push => { outbox.push(pushed); pushed += 1; }
                Step::Poll => if let Some(attempt) = outbox.poll(now) {
                    prop_assert!(!acked.contains(&attempt.key), "sent after its acknowledgement");
                    prop_assert_eq!(attempt.seq, 41 + attempts.len() as u64, "a number was skipped or repeated");
                    // First attempts come in the order of the pushes.
                    let seen: BTreeSet<u32> = attempts.iter().map(|a| a.key).collect();
                    prop_assert!(seen.contains(&attempt.key) || attempt.key == seen.len() as u32);
                    attempts.push(attempt);
                    let under_way: BTreeSet<u32> = attempts.iter().map(|a| a.key).filter(|k| !acked.contains(k)).collect();
                    prop_assert!(under_way.len() <= PATIENCE.window, "window exceeded");
                },
                Step::Ack(n) => if let Some(key) = attempts.get(n).and_then(|attempt| outbox.acked(attempt.seq)) {
                    prop_assert_eq!(key, attempts[n].key);
                    prop_assert!(acked.insert(key), "acknowledged twice");
                },
                Step::Fail(n) => if let Some(attempt) = attempts.get(n) { outbox.failed(attempt.seq, now); },
                Step::Reset => outbox.reset(now),
                Step::Wait(time) => now += time,
            }
            prop_assert_eq!(outbox.len() + acked.len(), pushed as usize, "lost or invented a message");
        }
        // A peer that acknowledges everything gets everything, in order, without anybody waiting for long.
        outbox.reset(now);
        let mut order = Vec::new();
        while let Some(attempt) = outbox.poll(now) {
            order.push(attempt.key);
            prop_assert_eq!(outbox.acked(attempt.seq), Some(attempt.key));
        }
        prop_assert!(outbox.is_empty());
        prop_assert!(order.is_sorted());
        prop_assert_eq!(order.len() + acked.len(), pushed as usize);
    }

    #[test]
    fn a_silent_peer_is_tried_again_and_again(count in 1..10_u32, rounds in 1..8_usize) {
        let mut outbox = outbox(0..count);
        let mut sent = vec![0_usize; count as usize];
        let mut now = 0;
        for _ in 0..rounds {
            for (_, key) in drain(&mut outbox, now) {
                sent[key as usize] += 1;
            }
            now = outbox.next_wakeup().unwrap();
        }
        let window = PATIENCE.window.min(count as usize);
        prop_assert!(sent[..window].iter().all(|n| *n == rounds));
        prop_assert!(sent[window..].iter().all(|n| *n == 0));
    }
}
