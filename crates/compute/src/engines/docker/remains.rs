//! Removes what this node created in Docker and nobody needs any more, now or as soon as the daemon answers again.

use super::daemon::{Connected, Daemon};
use super::errors;
use super::names::Names;
use bacalhau_model::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest time one request of a removal may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest time a node that starts waits for its former life to be cleaned away; the rest is done beside its work.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(15);

/// Removals at the same time.
const AT_ONCE: usize = 8;

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
        let swept = tokio::time::timeout(CLEAN_UP_LIMIT, self.sweep()).await;
        match swept.unwrap_or_else(|_| Err(errors::unreachable("cleaning up", "it does not answer"))) {
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
        let containers = containers.map_err(|e| errors::explain(what, &e))?.into_iter();
        let left = containers.filter_map(|found| self.unneeded(found.labels, found.id));
        let ended = stream::iter(left.map(|id| Remains::remove_owned(&daemon, id)));
        let ended = ended.buffer_unordered(AT_ONCE).try_fold(0, |sum, n| async move { Ok(sum + n) }).await?;
        let options = ListNetworksOptionsBuilder::new().filters(&names.all()).build();
        let networks = in_time(what, daemon.docker.list_networks(Some(options))).await?;
        let mut removed = ended;
        for network in networks.map_err(|e| errors::explain(what, &e))? {
            if let Some(id) = self.unneeded(network.labels, network.id) {
                Remains::remove_network(&daemon, &id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn remove_owned(daemon: &Connected, id: String) -> Result<usize, Error> {
        Remains::remove_container(daemon, &id).await.map(|()| 1)
    }

    /// The ID of something that no execution needs.
    fn unneeded(&self, labels: Option<HashMap<String, String>>, id: Option<String>) -> Option<String> {
        let labels = labels.unwrap_or_default();
        id.filter(|_| !self.is_needed(self.shared.names.execution_of(&labels)))
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
