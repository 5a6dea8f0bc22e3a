//! What happened on this node since its process started, in plain figures. Whoever wants to show them reads them here.
//!
//! Counting never waits and never fails.

use crate::core::Tally;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a [`Histogram`], seconds: from a compiled module to a day's work.
pub const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// A step of an execution that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Inputs are fetched.
    Fetch,
    /// The engine prepares, until the task runs.
    Prepare,
    /// The engine's part as a whole.
    Run,
    /// Results are published.
    Publish,
}

impl Stage {
    /// All there are.
    pub const ALL: [Stage; 4] = [Stage::Fetch, Stage::Prepare, Stage::Run, Stage::Publish];

    /// Name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Fetch => "fetch",
            Stage::Prepare => "prepare",
            Stage::Run => "run",
            Stage::Publish => "publish",
        }
    }
}

/// All figures of a node.
#[derive(Debug, Default)]
pub struct Metrics {
    bids_made: AtomicU64,
    bids_refused: AtomicU64,
    bids_failed: AtomicU64,
    engines: BTreeMap<String, EngineMetrics>,
    /// Of tasks whose engine the node does not have.
    no_engine: EngineMetrics,
    stages: [Histogram; 4],
}

impl Metrics {
    /// Nothing happened yet. `engines` are the names of those that the node has, lower case.
    pub fn new(engines: &[String]) -> Metrics {
        let engines = engines.iter().map(|name| (name.clone(), EngineMetrics::default())).collect();
        Metrics { engines, ..Metrics::default() }
    }

    /// Executions by what an engine did with them. The name may be in any case.
    pub fn engine(&self, name: &str) -> &EngineMetrics {
        self.engines.get(&name.trim().to_ascii_lowercase()).unwrap_or(&self.no_engine)
    }

    /// All engines, by name.
    pub fn engines(&self) -> impl Iterator<Item = (&str, &EngineMetrics)> {
        self.engines.iter().map(|(name, metrics)| (name.as_str(), metrics))
    }

    /// How long executions took for a stage.
    pub fn stage(&self, stage: Stage) -> &Histogram {
        let [fetch, prepare, run, publish] = &self.stages;
        match stage {
            Stage::Fetch => fetch,
            Stage::Prepare => prepare,
            Stage::Run => run,
            Stage::Publish => publish,
        }
    }

    pub(crate) fn took(&self, stage: Stage, duration: Duration) {
        self.stage(stage).observe(duration);
    }

    pub(crate) fn bids(&self, tally: Tally) {
        self.bids_made.store(tally.bids_made, Ordering::Relaxed);
        self.bids_refused.store(tally.bids_refused, Ordering::Relaxed);
        self.bids_failed.store(tally.bids_failed, Ordering::Relaxed);
    }

    /// What was bid for, refused, and could not be judged.
    pub fn tally(&self) -> Tally {
        Tally {
            bids_made: self.bids_made.load(Ordering::Relaxed),
            bids_refused: self.bids_refused.load(Ordering::Relaxed),
            bids_failed: self.bids_failed.load(Ordering::Relaxed),
        }
    }
}

/// Executions by what one engine did with them.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    started: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    left: AtomicU64,
}

/// A look at an [`EngineMetrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineFigures {
    /// Handed to the engine, or adopted from a former life of the node.
    pub started: u64,
    /// Ended by themselves, whatever their exit code, and were published.
    pub completed: u64,
    /// Could not start, finish or publish.
    pub failed: u64,
    /// Told to stop.
    pub cancelled: u64,
    /// Under way now.
    pub active: u64,
}

impl EngineMetrics {
    pub(crate) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn figures(&self) -> EngineFigures {
        // What ended is read first: what ends meanwhile then counts as active, never as less than nothing.
        let (completed, failed) =
            (self.completed.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        let (cancelled, left) = (self.cancelled.load(Ordering::Acquire), self.left.load(Ordering::Acquire));
        let started = self.started.load(Ordering::Acquire);
        let active = started.saturating_sub(completed + failed + cancelled + left);
        EngineFigures { started, completed, failed, cancelled, active }
    }
}

/// Durations, counted by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`BUCKETS`], and one for what is longer.
    buckets: [AtomicU64; 13],
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let place = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations were at most as long as each of [`BUCKETS`].
    pub fn cumulative(&self) -> [u64; BUCKETS.len()] {
        let mut sum = 0;
        let mut all = [0; BUCKETS.len()];
        for (total, bucket) in all.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            *total = sum;
        }
        all
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// All together, seconds.
    #[allow(clippy::cast_precision_loss)]
    pub fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up() {
        let metrics = Metrics::new(&["wasm".to_owned()]);
        let engine = metrics.engine(" WASM");
        (0..5).for_each(|_| engine.started());
        engine.completed();
        engine.failed();
        engine.cancelled();
        engine.left();
        metrics.engine("none").started();
        let expected = EngineFigures { started: 5, completed: 1, failed: 1, cancelled: 1, active: 1 };
        assert_eq!(
            metrics.engines().map(|(name, e)| (name, e.figures())).collect::<Vec<_>>(),
            [("wasm", expected)]
        );
        for millis in [1, 20, 3_700_000] {
            metrics.took(Stage::Run, Duration::from_millis(millis));
        }
        let run = metrics.stage(Stage::Run);
        assert_eq!(
            (run.count(), run.cumulative()[0], run.cumulative()[3], run.cumulative()[11]),
            (3, 1, 2, 2)
        );
        assert!((run.seconds() - 3700.021).abs() < 1e-6);
        assert_eq!(metrics.stage(Stage::Fetch).count(), 0);
    }
}
