//! Log streams: what an execution prints, from its node to the orchestrator.
//!
//! The orchestrator asks on the node's subject and names an inbox; the node answers with any number of frames and a
//! last one that closes. While streams are open the node asks every ten seconds which of them are still wanted.

mod frames;
mod keep_alive;
mod reader;
mod server;
mod streams;

pub use server::{LogLines, LogServer, LogSource};
pub use streams::LogStreams;

/// One piece of output: a line with its line break, or a part of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 1 standard output, 2 standard error.
    pub stream: u8,
    /// The text.
    pub line: String,
}

/// Whose output, and which of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// The execution.
    pub execution_id: String,
    /// Go on until the execution ends.
    pub follow: bool,
    /// Only what is printed from now on.
    pub tail: bool,
}
