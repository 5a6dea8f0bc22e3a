//! Log streams: what an execution prints, from its node to the orchestrator.
//!
//! The orchestrator asks on the node's subject and names an inbox; the node answers with any number of frames and a
//! last one that closes. While streams are open the node asks every ten seconds which of them are still wanted.

mod frames;
mod keep_alive;
mod packed;
mod reader;
mod server;
mod streams;

use bytes::Bytes;

pub use server::{LogLines, LogServer, LogSource};
pub use streams::LogStreams;

/// One piece of output as it was printed: usually a line with its line break, but it may be less or more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// 1 standard output, 2 standard error.
    pub stream: u8,
    /// When it was printed, nanoseconds since 1970; strictly growing within an execution. 0 where it is not known:
    /// nodes of Bacalhau 1.9 do not tell.
    pub time: i64,
    /// What was printed.
    pub text: Bytes,
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
    /// Only so many of the last lines, and what follows.
    pub last_lines: Option<u64>,
    /// Only what was printed since then, nanoseconds since 1970; 0 for all.
    pub since: i64,
}
