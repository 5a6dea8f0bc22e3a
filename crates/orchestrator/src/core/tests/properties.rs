//! What holds for the core whatever happens.

use super::checked::{Act, Checked, NODES, act};
use super::*;
use crate::core::suitable;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Plans never exceed Count or capacity, nothing of a stopped job runs, one live execution per partition, nobody
    /// waits while there is room for it; and the same inputs with the same seed give the same plan.
    #[test]
    fn the_rules_hold_whatever_happens(acts in proptest::collection::vec(act(), 1..60), seed: u64) {
        let run = || {
            let mut world = Checked::new(seed);
            acts.iter().for_each(|act| world.act(act));
            world.log
        };
        prop_assert_eq!(run(), run());
    }

    /// The short and the long form of the question whether a node suits a job have one answer.
    #[test]
    fn the_index_and_the_explanation_agree(red: bool, picky: bool, gpu in 0..4u32, cpu in 1..10u32, n in 0..NODES) {
        let mut world = Checked::new(1);
        world.red = [red; NODES];
        world.join(n);
        world.act(&Act::Submit { r#type: 0, count: 1, cpu, gpu, picky, priority: 0, patient: true });
        let entry = world.core.jobs.values().next().map(|e| (**e).clone());
        let Some(entry) = entry else { return Ok(()) };
        let placed = !entry.live.is_empty();
        let node = world.core.nodes.get(&format!("n-{n}")).cloned().unwrap();
        let reason = suitable::unsuitable(&entry, &node);
        prop_assert_eq!(reason.is_some(), suitable::unsuitable_in_brief(&entry, &node).is_some());
        prop_assert_eq!(placed, reason.is_none(), "{:?}", reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// When nodes stay and executions end, every batch job that some node can take ends, whatever its size and however
    /// many others come: nothing starves.
    #[test]
    fn nothing_starves(acts in proptest::collection::vec(act(), 1..40), seed: u64) {
        let mut world = Checked::new(seed);
        (0..NODES).for_each(|n| world.join(n));
        acts.iter().for_each(|act| world.act(act));
        for round in 0..80 {
            // Small ones keep coming, as much as the nodes can do.
            if round < 50 {
                world.act(&Act::Submit { r#type: 0, count: 6, cpu: 1, gpu: 0, picky: false, priority: 0, patient: true });
            }
            (0..NODES).for_each(|n| world.act(&Act::Uncordon(n)));
            (0..NODES).for_each(|n| world.red[n] = true);
            (0..NODES).for_each(|n| world.join(n));
            for execution in world.live() {
                if world.latest[&execution.job_id].job_type().unwrap().is_long_running() {
                    // Services make room in the end too.
                    let n = world.submitted.iter().position(|j| j.id == execution.job_id).unwrap();
                    if round > 5 { world.act(&Act::Stop(n)); }
                } else {
                    world.report(&execution, 0);
                    world.report(&execution, 1);
                }
            }
            world.heartbeats();
            world.pass(30);
        }
        let refused_everywhere = |job: &Job| {
            let entry = world.core.jobs.get(&job.id);
            // Where each of its partitions had its tries it is not asked again.
            let tried = |e, n| place::all_exhausted(e, n, &world.core.settings);
            entry.is_some_and(|e| {
                world.core.nodes.iter().all(|n| suitable::unsuitable(e, n).is_some() || tried(e, n))
            })
        };
        let jobs = world.latest.values().filter(|job| job.r#type == "batch");
        for job in jobs.filter(|job| !refused_everywhere(job)) {
            prop_assert!(job.state.state_type != JobState::Queued && job.is_terminal(), "{:?}", job);
        }
    }
}
