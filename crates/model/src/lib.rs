//! Vocabulary of the orchestrator: jobs, executions, nodes, resources, selectors, events, ids and errors.
//!
//! Everything that more than one part of the house talks about lives here, with its JSON shape, its defaults and
//! its validation. Nothing here does IO, reads a clock or knows an async runtime.
//!
//! JSON: names, order and omission rules are those of Bacalhau 1.9, so that a value decoded from its API or its
//! messages encodes back to the same bytes (see [`json`]).

pub mod defaults;
pub mod diff;
pub mod error;
pub mod event;
pub mod exec;
pub mod execution;
pub mod explain;
pub mod feed;
pub mod ids;
pub mod job;
pub mod job_file;
pub mod json;
pub mod kept;
pub mod lenient;
pub mod network;
pub mod node;
pub mod normalize;
pub mod paging;
pub mod policy;
pub mod quantity;
pub mod resources;
pub mod sanitize;
pub mod selector;
pub mod spec;
pub mod state;
pub mod task;
pub mod time;
pub mod validate;
pub mod version;

pub use error::Error;
pub use event::{Event, HistoryType, JobHistory};
pub use execution::{ComputeState, DesiredState, Execution, RunCommandResult};
pub use feed::{ClusterEvent, EncodedEvent, EventKind};
pub use job::{Job, JobState, JobType};
pub use network::{NetworkConfig, NetworkType, PortMapping};
pub use node::{
    BuildVersion, ComputeNodeInfo, Connection, ConnectionState, Drain, Membership, NodeInfo, NodeState,
    NodeType,
};
pub use policy::{Dependency, RetryPolicy, Schedule, UpdatePolicy};
pub use resources::{AllocatedResources, Gpu, Resources};
pub use selector::Requirement;
pub use spec::SpecConfig;
pub use state::State;
pub use task::{InputSource, ResourcesConfig, ResultPath, Task, Timeouts};
pub use time::Time;
