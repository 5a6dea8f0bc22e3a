//! The core's behaviour, by subject.
//!
//! Three worlds drive a core, because they ask for different things: [`world`] tells short stories and keeps everything
//! that the core ever wanted stored or sent; [`durable`] has a store that survives crashes, for what must not happen
//! twice; [`checked`] takes random inputs and checks every step. What they share is in [`fixtures`].

mod checked;
mod dependencies;
mod durable;
mod expectations;
mod explain;
mod fixtures;
mod lifecycles;
mod limits;
mod loss;
mod nodes;
mod progress;
mod properties;
mod reports;
mod retention;
mod rollouts;
mod schedules;
mod shortage;
mod turns;
mod versions;
mod world;

use super::*;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::{
    ComputeNodeInfo, Connection, Error, Event, Job, JobState, NodeInfo, NodeState, NodeType, Resources,
    SpecConfig, Task, Timeouts,
};
use bacalhau_store::orchestrator::{Change, PendingMessage, Snapshot, StoredJob};
use bacalhau_wire::messages::{self, NodeMessage};
use fixtures::*;
use std::sync::Arc;
use world::World;
