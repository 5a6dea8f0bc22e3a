//! The client of the HTTP API: requests, answers, errors and log streams, as the CLI uses them.
//!
//! It knows nothing of files, profiles or terminals: the caller says where the server is, who is asking and with
//! which credential. It must never print, and never put a credential into an error or a log line.

// The house's error type carries message, hint, code and details; errors are rare here and never in a hot loop.
#![allow(clippy::result_large_err)]

mod agent;
mod errors;
mod events;
mod http;
mod jobs;
mod logs;
mod nodes;
#[cfg(test)]
mod tests;
pub mod types;

pub use events::{EventFeed, EventStream, EventsQuery, Signal};
pub use http::{Client, Credential, Endpoint, Identity};
pub use jobs::{ExecutionsQuery, HistoryQuery, JobQuery, JobsQuery};
pub use logs::{LogEvent, LogExecution, LogLine, LogNote, LogQuery, LogStream};
pub use nodes::NodesQuery;
