//! What engines for containers have in common: the job's parameters, and the choice between engines.

mod backend;
pub(crate) mod gpus;
mod params;

/// The least memory that a container gets, bytes: as Docker, with less runtimes cannot start one.
pub(crate) const LEAST_MEMORY: u64 = 6 << 20;

pub use backend::{Backend, ContainerEngine};
pub(crate) use params::Params;
