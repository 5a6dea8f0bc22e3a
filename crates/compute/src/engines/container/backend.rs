//! Jobs of type `docker` without a Docker Engine: the engine that answers to that name and hands on to another.

use crate::engines::{Engine, EngineError, EngineRequest};
use bacalhau_model::{Error, Execution, Task};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What serves jobs of type `docker` (`Engines.Types.Docker.Backend`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// A Docker Engine if there is one that answers, else this node itself.
    #[default]
    Auto,
    /// Only a Docker Engine.
    Docker,
    /// Only this node itself.
    Oci,
}

impl Backend {
    /// Reads the word in any case; `None` for any other word.
    pub fn parse(text: &str) -> Option<Backend> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" | "" => Some(Backend::Auto),
            "docker" => Some(Backend::Docker),
            "oci" => Some(Backend::Oci),
            _ => None,
        }
    }
}

/// Engine `docker`, served by a Docker Engine or by engine `oci`.
pub struct ContainerEngine {
    docker: Option<Arc<dyn Engine>>,
    oci: Arc<dyn Engine>,
    backend: Backend,
}

impl ContainerEngine {
    /// Chooses between the two as `backend` says.
    pub fn new(docker: Option<Arc<dyn Engine>>, oci: Arc<dyn Engine>, backend: Backend) -> ContainerEngine {
        ContainerEngine { docker, oci, backend }
    }

    /// Who takes what comes now.
    async fn choose(&self) -> &Arc<dyn Engine> {
        match (&self.docker, self.backend) {
            (Some(docker), Backend::Docker) => docker,
            (Some(docker), Backend::Auto) if docker.is_available().await => docker,
            _ => &self.oci,
        }
    }

    /// Without asking anybody: the Docker Engine, if one has answered since this node was started. Whether tasks outlive
    /// the node hangs on this, and where there is no Docker Engine they do not.
    fn usual(&self) -> &Arc<dyn Engine> {
        match (&self.docker, self.backend) {
            (Some(docker), Backend::Docker) => docker,
            (Some(docker), Backend::Auto) if docker.version().is_some() => docker,
            _ => &self.oci,
        }
    }
}

impl Engine for ContainerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        self.usual().validate(task)
    }

    fn is_available(&self) -> BoxFuture<'_, bool> {
        async { self.choose().await.is_available().await }.boxed()
    }

    fn version(&self) -> Option<String> {
        self.usual().version()
    }

    fn checks_every_bid(&self) -> bool {
        true
    }

    fn check<'a>(&'a self, execution: &'a Execution, task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        async move { self.choose().await.check(execution, task).await }.boxed()
    }

    /// What the Docker Engine runs does. For what `oci` runs while a Docker Engine is away an adoption finds nothing.
    fn outlives_the_node(&self) -> bool {
        self.usual().outlives_the_node()
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        async move {
            // Only a Docker Engine can still have it.
            let engine = if request.adopt { self.usual() } else { self.choose().await };
            engine.run(request).await
        }
        .boxed()
    }

    fn clean_up<'a>(&'a self, keep: &'a BTreeSet<String>) -> BoxFuture<'a, ()> {
        async move {
            // Whatever served them in a former life.
            if let Some(docker) = &self.docker {
                docker.clean_up(keep).await;
            }
            self.oci.clean_up(keep).await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::ready;

    struct Fake(&'static str, bool);

    impl Engine for Fake {
        fn name(&self) -> &'static str {
            self.0
        }
        fn version(&self) -> Option<String> {
            self.1.then(|| self.0.to_owned())
        }
        fn outlives_the_node(&self) -> bool {
            self.0 == "docker"
        }
        fn validate(&self, _: &Task) -> Result<(), Error> {
            Ok(())
        }
        fn is_available(&self) -> BoxFuture<'_, bool> {
            ready(self.1).boxed()
        }
        fn run(&self, _: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
            ready(Ok(0)).boxed()
        }
    }

    #[tokio::test]
    async fn who_serves() {
        // Is Docker there, does it answer, what is configured, who serves, is the engine offered (`oci` can run).
        let cases = [
            (true, true, Backend::Auto, "docker", true),
            (true, false, Backend::Auto, "oci", true),
            (false, false, Backend::Auto, "oci", true),
            (true, false, Backend::Docker, "docker", false),
            (true, true, Backend::Oci, "oci", true),
        ];
        for (there, answers, backend, expected, offered) in cases {
            let docker = there.then(|| Arc::new(Fake("docker", answers)) as Arc<dyn Engine>);
            let engine = ContainerEngine::new(docker, Arc::new(Fake("oci", true)), backend);
            assert_eq!(engine.choose().await.name(), expected, "{backend:?}");
            assert_eq!((engine.name(), engine.is_available().await), ("docker", offered), "{backend:?}");
            assert_eq!(engine.outlives_the_node(), expected == "docker", "{backend:?}");
        }
        assert_eq!(Backend::parse(" OCI"), Some(Backend::Oci));
        assert_eq!(Backend::parse("podman"), None);
    }
}
