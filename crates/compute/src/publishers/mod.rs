//! Where results go: one file or folder per kind of publisher, and the registry that finds the right one.

mod archive;
mod local;
mod noop;
mod server;

pub use local::{LocalPublisher, LocalPublisherConfig};
pub use noop::Noop;

use bacalhau_model::{Error, Execution, SpecConfig, error::code};
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// A kind of publisher.
pub trait Publisher: Send + Sync {
    /// The name users write, in lower case.
    fn name(&self) -> &'static str;

    /// Checks the parameters.
    ///
    /// # Errors
    /// Parameters that can never work.
    fn validate(&self, spec: &SpecConfig) -> Result<(), Error>;

    /// Publishes a folder of results and tells where they are. The folder stays as it is.
    fn publish<'a>(
        &'a self,
        execution: &'a Execution,
        spec: &'a SpecConfig,
        folder: PathBuf,
    ) -> BoxFuture<'a, Result<SpecConfig, Error>>;
}

/// The publishers this node offers.
#[derive(Clone, Default)]
pub struct Publishers {
    list: Vec<Arc<dyn Publisher>>,
}

impl Publishers {
    /// A registry without the disabled names (compared without regard to case).
    pub fn new(list: Vec<Arc<dyn Publisher>>, disabled: &[String]) -> Publishers {
        let is_disabled = |name: &str| disabled.iter().any(|d| d.trim().eq_ignore_ascii_case(name));
        Publishers { list: list.into_iter().filter(|p| !is_disabled(p.name())).collect() }
    }

    /// Offered names, lower case, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.list.iter().map(|p| p.name().to_owned()).collect();
        names.sort();
        names
    }

    /// The publisher of a task; `None` when the task has none.
    ///
    /// # Errors
    /// The node does not offer it; the text lists what it offers.
    pub fn get(&self, spec: &SpecConfig) -> Result<Option<&Arc<dyn Publisher>>, Error> {
        if spec.is_empty() {
            return Ok(None);
        }
        self.list.iter().find(|p| spec.is_type(p.name())).map(Some).ok_or_else(|| {
            let message = format!("this node does not support publisher \"{}\"", spec.r#type.trim());
            Error::new(code::BAD_REQUEST, message).hint(format!("It offers: {}", self.names().join(", ")))
        })
    }
}
