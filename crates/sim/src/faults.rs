//! When hosts crash and links break.

use crate::network::Weather;
use crate::{MS, SECOND};

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The orchestrator dies at once and comes back after this long.
    CrashOrchestrator(i64),
    /// A node dies at once and comes back after this long.
    CrashNode(usize, i64),
    /// A node comes back without its disk after this long.
    WipeNode(usize, i64),
    /// Nothing passes between a node and the orchestrator for this long.
    Cut(usize, i64),
    /// The orchestrator does not run for this long, and then goes on with what has arrived meanwhile.
    Freeze(i64),
}

/// Draws the weather of a run and a list of faults with their times.
pub(crate) fn plan(random: &mut fastrand::Rng, nodes: usize, until: i64) -> (Weather, Vec<(i64, Fault)>) {
    let weather = Weather {
        drop: random.u32(0..15),
        duplicate: random.u32(0..15),
        delay: *random.choice([2, 20, 200].iter()).unwrap_or(&20),
    };
    let mut faults = Vec::new();
    for _ in 0..random.usize(0..8) {
        let at = random.i64(0..until);
        let node = random.usize(0..nodes);
        let short = random.i64(10..2_000) * MS;
        let long = random.i64(1..120) * SECOND;
        let length = if random.bool() { short } else { long };
        faults.push((
            at,
            match random.u32(0..11) {
                0..=2 => Fault::CrashOrchestrator(short),
                3..=5 => Fault::CrashNode(node, length),
                6 => Fault::WipeNode(node, length),
                7 => Fault::Freeze(length),
                _ => Fault::Cut(node, length),
            },
        ));
    }
    faults.sort_by_key(|(at, _)| *at);
    (weather, faults)
}
