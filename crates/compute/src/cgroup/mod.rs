//! Control groups of Linux, versions 1 and 2 and both at once: limits for a task, what it used, its end as a whole.
//!
//! A process gets a group of its own in every hierarchy that has something to offer, below the node's own group where it
//! may make some ([`Cgroups`]); a container one that its runtime makes, below the roots ([`Machine`]). Everything here is file IO on kernel file systems and blocks briefly: call it from a thread that
//! may. Groups are never shared with anything else, so that killing one can hit nobody else.

mod base;
mod group;
mod kill;
mod layout;
mod limits;
mod machine;
mod usage;

pub use base::Cgroups;
pub use group::Cgroup;
pub use machine::Machine;
pub use usage::Usage;

/// What a group must not exceed. 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Cores.
    pub cpu: f64,
    /// Bytes, swap included.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A kind of resource that groups can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Controller {
    /// Time on cores.
    Cpu,
    /// Memory.
    Memory,
    /// Number of processes.
    Pids,
    /// Stopping all at once; only version 1 has it as a controller.
    Freezer,
}

impl Controller {
    /// Those that limit something.
    const LIMITING: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
        }
    }
}
