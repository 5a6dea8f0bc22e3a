//! The orchestrator: a pure core that decides ([`core`]) and the shell that does (the store, the bus, the callers).

pub mod core;
mod shell;

pub use core::{Calendar, NodeAction, Rerun, Retention, Settings, Submitted};
pub use shell::feed::{Cursor, EVENTS_KEPT, LiveEvents, Next};
pub use shell::{Diff, Ended, Options, Orchestrator, SubmitOptions, start};
