//! The compute node: a pure core that queues and the shell that runs.
//!
//! Below the core: [`executor`] runs one execution from its inputs to its published results with the help of
//! [`engines`], [`sources`], [`publishers`] and [`logs`]; [`system`] tells what the machine has.

mod accept;
pub mod cgroup;
mod command;
pub mod core;
pub mod egress;
pub mod engines;
pub mod executor;
pub mod logs;
pub mod metrics;
pub mod publishers;
mod shell;
pub mod sources;
pub mod system;

pub use shell::{ComputeNode, Ended, Load, Options, Way, start};
