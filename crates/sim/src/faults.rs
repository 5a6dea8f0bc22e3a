//! When hosts crash, links break, clocks jump and disks are slow.

use crate::network::Weather;
use crate::{HOUR, MINUTE, MS, SECOND};

/// A host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The orchestrator.
    Orchestrator,
    /// A compute node, from 0.
    Node(usize),
}

/// Where in the life of a transaction a host dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing of the transaction is on disk.
    Before,
    /// Some of the batches in front are on disk, the others are not.
    Torn,
    /// All is on disk, nobody was told.
    After,
    /// All is on disk, some were told.
    Telling,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 4] =
        [CrashPoint::Before, CrashPoint::Torn, CrashPoint::After, CrashPoint::Telling];
}

/// Which way nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    ToNode,
    ToOrchestrator,
}

/// A fault to inject. Lengths in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A host dies at once and comes back after this long.
    Crash(Host, i64),
    /// A host dies at its next commit and comes back after this long.
    CrashAtCommit(Host, CrashPoint, i64),
    /// A node dies at once and comes back without its disk after this long.
    Wipe(usize, i64),
    /// Nothing passes between some nodes and the orchestrator for this long.
    Cut(Vec<usize>, Way, i64),
    /// A host does not run for this long, and then goes on with what has arrived meanwhile.
    Freeze(Host, i64),
    /// Somebody sets a host's clock by this much.
    ClockJump(Host, i64),
    /// Commits of a host take up to this long, for that long.
    SlowDisk(Host, i64, i64),
    /// The labels of a node change.
    Relabel(usize),
    /// A node stops, says so or not, and comes back after this long, if ever.
    Leave(usize, bool, Option<i64>),
}

/// Draws the weather of a run and a list of faults with their times.
pub(crate) fn plan(random: &mut fastrand::Rng, nodes: usize, until: i64) -> (Weather, Vec<(i64, Fault)>) {
    let weather = Weather {
        drop: random.u32(0..15),
        duplicate: random.u32(0..15),
        delay: *random.choice([2, 20, 200].iter()).unwrap_or(&20),
    };
    let most = if until > HOUR { 40 } else { 14 };
    let faults = (0..random.usize(0..most)).map(|_| (random.i64(0..until), fault(random, nodes)));
    let mut faults: Vec<_> = faults.collect();
    faults.sort_by_key(|(at, _)| *at);
    (weather, faults)
}

fn fault(random: &mut fastrand::Rng, nodes: usize) -> Fault {
    let node = random.usize(0..nodes);
    let host = if random.bool() { Host::Orchestrator } else { Host::Node(node) };
    match random.u32(0..28) {
        0..=4 => Fault::Crash(host, length(random)),
        5..=10 => {
            let point = *random.choice(CrashPoint::ALL.iter()).unwrap_or(&CrashPoint::Before);
            Fault::CrashAtCommit(host, point, length(random))
        }
        11..=12 => Fault::Wipe(node, length(random)),
        13..=14 => Fault::Freeze(host, length(random)),
        15..=18 => {
            let some = (0..nodes).filter(|n| *n == node || random.u32(0..3) == 0).collect();
            let way = match random.u32(0..6) {
                0 => Way::ToNode,
                1 => Way::ToOrchestrator,
                _ => Way::Both,
            };
            Fault::Cut(some, way, length(random))
        }
        19..=20 => {
            let by = *random.choice([SECOND, MINUTE, 10 * MINUTE, HOUR].iter()).unwrap_or(&SECOND);
            let by = random.i64(1..by);
            // Set back, a clock stands still for as long as the process lives.
            Fault::ClockJump(host, if random.u32(0..3) == 0 { -by.min(10 * MINUTE) } else { by })
        }
        21..=23 => {
            let most = *random.choice([100 * MS, SECOND, 20 * SECOND].iter()).unwrap_or(&SECOND);
            Fault::SlowDisk(host, most, length(random))
        }
        24..=25 => Fault::Relabel(node),
        26 => Fault::Leave(node, random.bool(), None),
        _ => Fault::Leave(node, random.bool(), Some(length(random))),
    }
}

/// Mostly short, sometimes longer than any patience.
fn length(random: &mut fastrand::Rng) -> i64 {
    match random.u32(0..10) {
        0..=4 => random.i64(10..2_000) * MS,
        5..=8 => random.i64(1..120) * SECOND,
        _ => random.i64(2..10) * MINUTE,
    }
}

/// How long a commit takes on a good disk.
pub(crate) fn commit_time(random: &mut fastrand::Rng) -> i64 {
    if random.u32(0..50) == 0 { random.i64(1..500) * MS } else { random.i64(1..5) * MS }
}
