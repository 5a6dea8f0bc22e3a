//! Jobs of type `docker` without a Docker Engine: the engine that answers to that name and hands on to another.
//!
//! Which one took an execution is noted in the execution's folder, so that the same one goes on with it after a restart of
//! the node, whatever answers or is configured by then.

use crate::engines::{Engine, EngineError, EngineRequest};
use crate::executor::WorkFolder;
use bacalhau_model::{Error, Execution, Task, error::code};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Name of the note in the execution's folder.
const FILE: &str = "backend";

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

    /// Without asking anybody: the Docker Engine, if one has answered since this node was started.
    fn usual(&self) -> &Arc<dyn Engine> {
        match (&self.docker, self.backend) {
            (Some(docker), Backend::Docker) => docker,
            (Some(docker), Backend::Auto) if docker.version().is_some() => docker,
            _ => &self.oci,
        }
    }

    /// Those that may take something.
    fn all(&self) -> impl Iterator<Item = &Arc<dyn Engine>> {
        let docker = self.docker.iter().filter(|_| self.backend != Backend::Oci);
        let oci = (self.backend != Backend::Docker || self.docker.is_none()).then_some(&self.oci);
        docker.chain(oci)
    }

    /// Who took it in a former life. Where nobody noted it: a life that had but one that could.
    async fn who_took(&self, work: &Path) -> &Arc<dyn Engine> {
        let noted = tokio::fs::read_to_string(work.join(FILE)).await.unwrap_or_default();
        let mut known = self.docker.iter().chain([&self.oci]);
        known.find(|engine| engine.name() == noted).unwrap_or_else(|| self.usual())
    }
}

/// Notes who takes an execution.
async fn note(engine: &dyn Engine, work: &WorkFolder) -> Result<(), EngineError> {
    let written = match work.create("") {
        Ok(folder) => tokio::fs::write(folder.join(FILE), engine.name()).await,
        Err(error) => Err(error),
    };
    written.map_err(|e| {
        let error = Error::new(code::INTERNAL_ERROR, format!("cannot note which engine runs the task: {e}"));
        EngineError::not_started(
            error.component("Docker").hint("Check the free space of the compute node").retryable(),
        )
    })
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

    fn outlives_the_node(&self) -> bool {
        self.all().all(|engine| engine.outlives_the_node())
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        async move {
            if request.adopt {
                return self.who_took(request.work.path()).await.run(request).await;
            }
            let engine = self.choose().await;
            note(engine.as_ref(), &request.work).await?;
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
            true
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
            assert!(engine.outlives_the_node(), "{backend:?}");
            // Whoever took it goes on with it, whatever answers by then.
            let dir = tempfile::tempdir().unwrap();
            let work = WorkFolder::new(dir.path().join("e-1"));
            assert_eq!(engine.who_took(work.path()).await.name(), expected, "{backend:?}");
            note(&Fake("oci", true), &work).await.unwrap();
            assert_eq!(engine.who_took(work.path()).await.name(), "oci", "{backend:?}");
            if there {
                note(&Fake("docker", true), &work).await.unwrap();
                assert_eq!(engine.who_took(work.path()).await.name(), "docker", "{backend:?}");
            }
        }
        assert_eq!(Backend::parse(" OCI"), Some(Backend::Oci));
        assert_eq!(Backend::parse("podman"), None);
    }
}
