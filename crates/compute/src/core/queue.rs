//! Executions that were told to run: those that wait for capacity and those that have it.
//!
//! Higher priority first, then first come first served. One that does not fit lets smaller ones pass.

use super::gpus;
use bacalhau_model::{Gpu, Resources};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The queue and the capacity in use.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    capacity: Resources,
    arrivals: u64,
    waiting: BTreeMap<(Reverse<i64>, u64), (String, Resources)>,
    running: BTreeMap<String, Resources>,
    in_use: Resources,
}

impl Queue {
    /// An empty queue in front of `capacity`.
    pub fn new(capacity: Resources) -> Queue {
        Queue { capacity, ..Queue::default() }
    }

    /// Adds an execution at the end of its priority.
    pub fn push(&mut self, execution_id: &str, priority: i64, usage: Resources) {
        self.arrivals += 1;
        self.waiting.insert((Reverse(priority), self.arrivals), (execution_id.to_owned(), usage));
    }

    /// Takes an execution that waits out of the queue. False when it does not wait.
    pub fn withdraw(&mut self, execution_id: &str) -> bool {
        let place = self.waiting.iter().find(|(_, (id, _))| id == execution_id).map(|(place, _)| *place);
        place.is_some_and(|place| self.waiting.remove(&place).is_some())
    }

    /// Starts the first execution that fits into what is free, if any.
    pub fn start_next(&mut self) -> Option<String> {
        let free = self.free();
        let place =
            self.waiting.iter().find(|(_, (_, usage))| usage.fits_in(&free)).map(|(place, _)| *place)?;
        let (id, usage) = self.waiting.remove(&place)?;
        let gpus = gpus::first(&free.gpus, usage.gpu);
        let usage = Resources { gpus, ..usage };
        self.in_use = self.in_use.plus(&usage);
        self.running.insert(id.clone(), usage);
        Some(id)
    }

    /// A run of a former life goes on, whatever else there is: it has its capacity already.
    pub fn resume(&mut self, execution_id: &str, usage: Resources) {
        self.in_use = self.in_use.plus(&usage);
        self.running.insert(execution_id.to_owned(), usage);
    }

    /// A run ended: its capacity is free again.
    pub fn finish(&mut self, execution_id: &str) {
        if self.running.remove(execution_id).is_some() {
            // Summed afresh so that fractions of cores do not drift.
            self.in_use = self.running.values().fold(Resources::default(), |sum, usage| sum.plus(usage));
        }
    }

    /// True while the execution runs.
    pub fn is_running(&self, execution_id: &str) -> bool {
        self.running.contains_key(execution_id)
    }

    /// The GPUs that a running execution has, as far as the node knows its GPUs.
    pub fn gpus(&self, execution_id: &str) -> Vec<Gpu> {
        self.running.get(execution_id).map(|usage| usage.gpus.clone()).unwrap_or_default()
    }

    /// Capacity nobody runs on, with the GPUs that nobody has.
    pub fn free(&self) -> Resources {
        let gpus = gpus::free(&self.capacity.gpus, self.running.values());
        Resources { gpus, ..self.capacity.minus(&self.in_use) }
    }

    /// Capacity in use.
    pub fn in_use(&self) -> &Resources {
        &self.in_use
    }

    /// What waiting executions ask for together.
    pub fn queued(&self) -> Resources {
        self.waiting.values().fold(Resources::default(), |sum, (_, usage)| sum.plus(usage))
    }

    /// How many run and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cores(cpu: f64) -> Resources {
        Resources { cpu, ..Resources::default() }
    }

    #[test]
    fn priority_then_arrival_and_small_ones_pass() {
        let mut queue = Queue::new(cores(2.0));
        queue.push("big", 0, cores(2.0));
        queue.push("small", 0, cores(1.0));
        queue.push("urgent", 5, cores(1.0));
        assert_eq!(queue.start_next().as_deref(), Some("urgent"));
        assert_eq!(queue.start_next().as_deref(), Some("small"));
        assert_eq!(queue.start_next(), None);
        queue.finish("urgent");
        queue.finish("small");
        assert!(!queue.withdraw("small"));
        assert_eq!(queue.start_next().as_deref(), Some("big"));
        assert_eq!(queue.counts(), (1, 0));
    }

    proptest! {
        #[test]
        fn never_more_than_the_capacity(steps in proptest::collection::vec((0u8..3, 0usize..8, 1u32..30), 0..80)) {
            let mut queue = Queue::new(cores(2.0));
            let mut running = Vec::new();
            for (step, (what, n, tenths)) in steps.into_iter().enumerate() {
                match what {
                    0 => queue.push(&format!("e-{step}"), n as i64, cores(f64::from(tenths) / 10.0)),
                    1 => running.extend(queue.start_next()),
                    _ if !running.is_empty() => queue.finish(&running.remove(n % running.len())),
                    _ => {}
                }
                prop_assert!(queue.in_use().fits_in(&cores(2.0)));
                prop_assert_eq!(queue.counts().0, running.len());
            }
        }

        #[test]
        fn no_gpu_has_two_owners(steps in proptest::collection::vec((0u8..3, 0usize..8), 0..80)) {
            let gpus: Vec<Gpu> = (0..4).map(|index| Gpu { index, ..Gpu::default() }).collect();
            let mut queue = Queue::new(Resources { cpu: 99.0, gpu: 4, gpus, ..Resources::default() });
            let mut running: Vec<String> = Vec::new();
            for (step, (what, n)) in steps.into_iter().enumerate() {
                match what {
                    0 => queue.push(&format!("e-{step}"), 0, Resources { gpu: n as u64 % 5, ..cores(0.1) }),
                    1 => running.extend(queue.start_next()),
                    _ if !running.is_empty() => queue.finish(&running.remove(n % running.len())),
                    _ => {}
                }
                let mut held: Vec<u64> = running.iter().flat_map(|id| queue.gpus(id)).map(|gpu| gpu.index).collect();
                prop_assert_eq!(held.len() as u64, queue.in_use().gpu);
                held.extend(queue.free().gpus.iter().map(|gpu| gpu.index));
                held.sort_unstable();
                prop_assert_eq!(held, [0, 1, 2, 3]);
            }
        }
    }
}
