//! Removes what this node created in Docker and nobody needs any more, now or as soon as the daemon answers again.

use super::daemon::{Connected, Daemon};
use super::errors;
use super::names::Names;
use bacalhau_model::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest time one request of a removal may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits between tries, while the daemon does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Everything that is left behind. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    daemon: Daemon,
    names: Names,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Executions that run, or will be adopted.
    needed: BTreeSet<String>,
    /// Something tries until it succeeds.
    trying: bool,
    /// There is more since it began.
    again: bool,
}

impl Remains {
    pub(super) fn new(daemon: Daemon, names: Names) -> Remains {
        Remains { shared: Arc::new(Shared { daemon, names, state: Mutex::default() }) }
    }

    /// Protects what belongs to an execution, until [`Remains::done_with`] it. What a run leaves to the next life of the node
    /// stays protected.
    pub(super) fn need(&self, execution_id: &str) {
        self.lock().needed.insert(execution_id.to_owned());
    }

    /// Nobody needs what belongs to the execution any more.
    pub(super) fn done_with(&self, execution_id: &str) {
        self.lock().needed.remove(execution_id);
    }

    /// Removes what belongs to no execution in `keep`, which are protected until their runs end. If the daemon does not
    /// answer it is done when it does.
    pub(super) async fn clean_up(&self, keep: &BTreeSet<String>) {
        self.lock().needed.extend(keep.iter().cloned());
        match self.sweep().await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "removed containers and networks that a former life left behind")
            }
            Err(error) => {
                tracing::debug!(%error, "Docker is not there to be cleaned up; trying again later");
                self.sweep_later();
            }
        }
    }

    /// Removes a container, with its anonymous volumes.
    pub(super) async fn remove_container(daemon: &Connected, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let what = "removing the container";
        match in_time(what, daemon.docker.remove_container(id, Some(options))).await? {
            // Gone, or another removal is under way.
            Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => Ok(()),
            result => result.map_err(|e| errors::explain(what, &e)),
        }
    }

    /// Removes a network.
    pub(super) async fn remove_network(daemon: &Connected, id: &str) -> Result<(), Error> {
        let what = "removing the network";
        match in_time(what, daemon.docker.remove_network(id)).await? {
            Err(error) if errors::is_not_found(&error) => Ok(()),
            result => result.map_err(|e| errors::explain(what, &e)),
        }
    }

    /// Removes everything nobody needs as soon as the daemon lets it. Returns at once.
    pub(super) fn sweep_later(&self) {
        {
            let mut state = self.lock();
            state.again = true;
            if std::mem::replace(&mut state.trying, true) {
                return;
            }
        }
        let remains = self.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                tokio::time::sleep(pause).await;
                remains.lock().again = false;
                match remains.sweep().await {
                    Ok(count) => {
                        tracing::info!(count, "removed what was left behind in Docker");
                        pause = FIRST_PAUSE;
                        let mut state = remains.lock();
                        if !state.again {
                            state.trying = false;
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot clean up in Docker yet");
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        });
    }

    /// Removes everything nobody needs; says how much.
    async fn sweep(&self) -> Result<usize, Error> {
        let daemon = self.shared.daemon.get_anew().await?;
        let names = &self.shared.names;
        let what = "listing what was left behind";
        let options = ListContainersOptionsBuilder::new().all(true).filters(&names.all()).build();
        let containers = in_time(what, daemon.docker.list_containers(Some(options))).await?;
        let mut removed = 0;
        for container in containers.map_err(|e| errors::explain(what, &e))? {
            let labels = container.labels.unwrap_or_default();
            if self.is_needed(names.execution_of(&labels)) {
                continue;
            }
            Remains::remove_container(&daemon, &container.id.unwrap_or_default()).await?;
            removed += 1;
        }
        let options = ListNetworksOptionsBuilder::new().filters(&names.all()).build();
        let networks = in_time(what, daemon.docker.list_networks(Some(options))).await?;
        for network in networks.map_err(|e| errors::explain(what, &e))? {
            let labels = network.labels.unwrap_or_default();
            if self.is_needed(names.execution_of(&labels)) {
                continue;
            }
            Remains::remove_network(&daemon, &network.id.unwrap_or_default()).await?;
            removed += 1;
        }
        Ok(removed)
    }

    fn is_needed(&self, execution_id: Option<&str>) -> bool {
        execution_id.is_some_and(|id| self.lock().needed.contains(id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> Result<T, Error> {
    let result = tokio::time::timeout(LIMIT, work).await;
    result.map_err(|_| errors::unreachable(what, "it does not answer"))
}
