//! What can go wrong for the program that embeds the server. Protocol faults of remote clients are not here: they
//! close that client's connection and show in the counters and events.

use std::io;

/// Errors of [`Server`](crate::Server) and [`LocalClient`](crate::LocalClient).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listening socket could not be opened.
    #[error(
        "NATS server cannot listen on {address}: {source}; choose another host or port, or stop what holds it"
    )]
    Listen {
        /// Host and port as configured.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The event queue or the thread of the server could not be created.
    #[error("NATS server cannot start: {0}")]
    Start(io::Error),
    /// An option is outside its range.
    #[error("NATS server option {option}: {problem}")]
    Option {
        /// The field of [`Options`](crate::Options).
        option: &'static str,
        /// What was found and what is allowed.
        problem: String,
    },
    /// Settings were to be reloaded that differ in one that cannot change while the server runs. Nothing has changed.
    #[error(
        "config reload not supported for {option}: old={old}, new={new}; restart the server to change it"
    )]
    NotReloadable {
        /// The field of [`Options`](crate::Options).
        option: &'static str,
        /// What holds.
        old: String,
        /// What was asked for.
        new: String,
    },
    /// The JWT of an account cannot be used.
    #[error("NATS server cannot take the JWT of an account: {problem}")]
    Account {
        /// What was found and what to do.
        problem: String,
    },
    /// A subject or queue name that cannot be sent.
    #[error("{what} {text:?} is not valid: {problem}")]
    Subject {
        /// Which argument.
        what: &'static str,
        /// What was given (shortened).
        text: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// The header block does not have the form `NATS/1.0...` up to an empty line.
    #[error("header block is not valid: {0}")]
    Headers(&'static str),
    /// Headers and payload together are above the server's limit.
    #[error("message of {size} bytes is above the server's max_payload of {limit} bytes")]
    PayloadTooLarge {
        /// Headers and payload, in bytes.
        size: usize,
        /// `max_payload`, in bytes.
        limit: usize,
    },
    /// The client's queue to the server is full: receivers are slower than this publisher. Retry later or shed load.
    #[error(
        "publish queue of local client {client:?} is full ({pending} bytes wait); receivers do not keep up"
    )]
    Busy {
        /// The local client's name.
        client: String,
        /// Bytes that wait to be routed.
        pending: usize,
    },
    /// The server has shut down.
    #[error("NATS server has shut down")]
    Closed,
}
