//! What happened last, for people who look at a failing run, and one number that stands for all of it.
//!
//! Runs are repeated exactly by their seed, so the lines are only written in a second run of a seed that failed, or where
//! two runs are compared.

use crate::invariants::Violation;
use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Lines kept.
const MOST: usize = 400;

/// The last lines.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    on: bool,
    lines: VecDeque<String>,
    /// Hash of all lines so far.
    digest: u64,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Trace {
        Trace { on, ..Trace::default() }
    }

    /// Adds a line; it is only made when somebody wants it.
    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        if self.on {
            if self.lines.len() == MOST {
                self.lines.pop_front();
            }
            let line = line();
            let mut hasher = DefaultHasher::new();
            (self.digest, &line).hash(&mut hasher);
            self.digest = hasher.finish();
            self.lines.push_back(line);
        }
    }

    /// Stands for all lines that were added; 0 when none is written down.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// A run that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// Virtual time of it.
    pub at: String,
    /// What happened before, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { name, what } = &self.violation;
        writeln!(f, "seed {}: {name} broken at {}: {what}", self.seed, self.at)?;
        writeln!(
            f,
            "  again: BACALHAU_SIM_SEED={} cargo test --package bacalhau-sim one_seed -- --nocapture",
            self.seed
        )?;
        if !self.trace.is_empty() {
            writeln!(f, "  the last {} events:", self.trace.len())?;
        }
        self.trace.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
