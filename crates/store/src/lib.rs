//! SQLite: a group-commit writer, migrations, and read queries.
//!
//! One [`Writer`] per database: whoever wants something stored hands it a batch of changes and is called back when
//! that batch is on disk. Batches that wait are committed together, so the cost of an fsync is shared. Readers have
//! connections of their own and never wait for the writer.
//!
//! - [`orchestrator`]: jobs, executions, history, nodes.
//! - [`compute`]: the executions of a compute node.

pub mod compute;
mod error;
mod files;
pub mod orchestrator;
mod pipeline;
mod pool;
mod room;
mod schema;
mod upkeep;
mod writer;

pub use error::StoreError;
pub use pipeline::{Committed, Pipeline};
pub use schema::Schema;
pub use writer::{Done, Writer};
