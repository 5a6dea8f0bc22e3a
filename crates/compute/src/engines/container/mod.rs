//! What engines for containers have in common: the job's parameters, and the choice between engines.

mod backend;
pub(crate) mod gpus;
mod params;

pub use backend::{Backend, ContainerEngine};
pub(crate) use params::Params;
