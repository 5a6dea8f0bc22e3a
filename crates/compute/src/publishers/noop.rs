//! `noop`: publishes nothing and says so.

use super::Publisher;
use bacalhau_model::{Error, Execution, SpecConfig};
use futures_util::future::{self, BoxFuture};
use std::path::PathBuf;

/// The `noop` publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

impl Publisher for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn validate(&self, _spec: &SpecConfig) -> Result<(), Error> {
        Ok(())
    }

    fn publish<'a>(
        &'a self,
        _execution: &'a Execution,
        _spec: &'a SpecConfig,
        _folder: PathBuf,
    ) -> BoxFuture<'a, Result<SpecConfig, Error>> {
        Box::pin(future::ready(Ok(SpecConfig::new("noop"))))
    }
}
