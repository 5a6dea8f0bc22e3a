//! What goes into the compute node's core and what comes out of it.
//!
//! `T` is a token of the shell's own: a message to acknowledge. The core hands it back unseen.

use bacalhau_model::{Error, Execution, RunCommandResult, SpecConfig};
use bacalhau_store::compute::{Change, PendingReport};
use bacalhau_wire::messages::OrchestratorMessage;
use std::sync::Arc;

/// One thing that happened.
#[derive(Debug)]
pub enum Input<T> {
    /// The orchestrator wants something.
    Message {
        /// What.
        message: OrchestratorMessage,
        /// Released with [`Effect::Acknowledge`].
        token: T,
    },
    /// The answer to [`Effect::Probe`].
    Probed {
        /// The execution.
        execution_id: String,
        /// Disk that the inputs need, in bytes, or why the node does not want or cannot judge it.
        result: Result<u64, Declined>,
    },
    /// The engine, or a source, fetches or prepares something.
    Preparing {
        /// The execution.
        execution_id: String,
        /// Topic of the line in the history.
        topic: &'static str,
        /// The line.
        text: String,
    },
    /// The task's process runs.
    Started {
        /// The execution.
        execution_id: String,
    },
    /// The engine is done and the results are being published.
    Publishing {
        /// The execution.
        execution_id: String,
    },
    /// The end of what [`Effect::Run`] started, also after [`Effect::Cancel`].
    Finished {
        /// The execution.
        execution_id: String,
        /// What came of it.
        result: Result<Finished, Failed>,
    },
    /// The end of what [`Effect::Run`] was to adopt: it is not there any more.
    Gone {
        /// The execution.
        execution_id: String,
    },
    /// The engines that can run something now, lower case.
    Engines(Vec<String>),
    /// The orchestrator acknowledged a report.
    Delivered {
        /// The execution.
        execution_id: String,
        /// The report.
        kind: PendingReport,
    },
    /// Connected to an orchestrator: everything it has not acknowledged is reported again.
    Connected {
        /// It understands reports of progress.
        progress: bool,
    },
    /// Time passed; see [`super::Core::next_wakeup`].
    Tick,
}

/// Why a bid is not made.
#[derive(Clone, Debug, PartialEq)]
pub enum Declined {
    /// The node does not want it, and why: what follows "rejected bid: ".
    Refused(String),
    /// The node could not find out.
    Error(Error),
}

/// A run that ended by itself, whatever its exit code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// What it printed and how it exited.
    pub run_output: RunCommandResult,
    /// Where the results are; an empty type when nothing was published.
    pub published_result: SpecConfig,
}

/// A run that could not start, finish or publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Topic of the history event.
    pub topic: String,
    /// Why.
    pub error: Error,
    /// What it printed until then, if it started. Stays on this node: the report of a failure has no field for it.
    pub run_output: Option<RunCommandResult>,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With its inputs.
    #[default]
    Afresh,
    /// A former life of the node started the task, which outlived it: go on with it. Answered by [`Input::Gone`] if it is
    /// not there any more.
    Adopt,
    /// The task had ended and its results were complete: publish them.
    Publish,
}

/// What the shell has to do once the changes of the same batch are on disk.
#[derive(Debug)]
pub enum Effect<T> {
    /// Acknowledge a message.
    Acknowledge(T),
    /// Find out what only IO can tell: sizes of inputs, local paths, environment, external probes.
    Probe(Arc<Execution>),
    /// Run it; answered by [`Input::Finished`], and on the way there by [`Input::Started`] and the like.
    Run(Arc<Execution>, Start),
    /// End a run, answered by [`Input::Finished`]; or note that one will never start, which needs no answer.
    Cancel(String),
    /// Deliver a report; built from [`super::Core::message`] when it is sent.
    Report {
        /// The execution.
        execution_id: String,
        /// The report.
        kind: PendingReport,
    },
}

/// Everything one or more steps produced. Changes are committed first, effects follow.
#[derive(Debug)]
pub struct Output<T> {
    /// For the store, in order.
    pub changes: Vec<Change>,
    /// For the shell, in order, after the commit.
    pub effects: Vec<Effect<T>>,
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Output { changes: Vec::new(), effects: Vec::new() }
    }
}
