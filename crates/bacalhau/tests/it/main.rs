//! The real binary, run as people run it.

mod bin;
mod client;
mod fake;
mod offline;
