//! A container that is there, and the removal of everything it had.

use super::Shared;
use super::bundle::Layout;
use super::network::Network;
use super::remains;
use super::rootfs::detach;
use super::runtime::{Runtime, last_words};
use crate::engines::supervisor::client::Supervisor;
use crate::executor::WorkFolder;
use bacalhau_images::{HeldLayers, Image, remove_tree};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest time a supervisor takes to end when everything it looks after is dead.
const BURIAL: Duration = Duration::from_secs(5);

/// What keeps an image's layers from being collected.
#[derive(Debug)]
pub(super) enum Layers {
    /// This life fetched it.
    Lent(#[allow(dead_code)] Image),
    /// A former one did.
    Held(#[allow(dead_code)] Option<HeldLayers>),
}

/// A container. Dropped, it is left as it is.
pub(super) struct Container {
    pub(super) shared: Arc<Shared>,
    runtime: Option<Runtime>,
    pub(super) id: String,
    layout: Layout,
    network: Option<Network>,
    layers: Option<Layers>,
    /// The folder of all this can only be removed when nothing is mounted there any more.
    work: Option<Arc<WorkFolder>>,
}

impl Container {
    pub(super) fn new(
        shared: Arc<Shared>,
        runtime: Option<Runtime>,
        id: String,
        layout: Layout,
        network: Network,
        layers: Layers,
        work: Arc<WorkFolder>,
    ) -> Container {
        let (network, layers, work) = (Some(network), Some(layers), Some(work));
        Container { shared, runtime, id, layout, network, layers, work }
    }

    /// Whether the kernel killed something in it for want of memory. Before [`Container::remove`].
    pub(super) async fn killed_for_memory(&self) -> bool {
        let cgroup = self.shared.machine.group(&self.shared.cgroup_of_program(&self.id));
        let kills = tokio::task::spawn_blocking(move || cgroup.usage().oom_kills).await;
        kills.is_ok_and(|kills| kills > 0)
    }

    /// Why the runtime did not start it.
    pub(super) fn last_words(&self) -> Option<String> {
        last_words(&self.layout.runtime_log())
    }

    /// Removes everything, whatever state it is in, and waits for that.
    pub(super) async fn remove(mut self, supervisor: Option<Supervisor>) {
        if let Some(mut supervisor) = supervisor
            && !supervisor.ended(BURIAL).await
        {
            tracing::warn!(container = %self.id, "a supervisor does not end; it is killed with its container");
        }
        let cgroup = self.shared.machine.group(&self.shared.cgroup(&self.id));
        let (merged, upper) = (self.layout.merged(), self.layout.upper());
        let (state, kept) = (self.shared.state().join(&self.id), self.shared.kept(&self.id));
        let held = (self.layers.take(), self.work.take());
        let files = tokio::task::spawn_blocking(move || {
            let killed = cgroup.dissolve();
            detach(&merged);
            // The rest of the folder goes with the execution's.
            let _ = remove_tree(&upper);
            drop(held);
            killed.and_then(|()| remove_folder(&state)).and_then(|()| remove_folder(&kept))
        });
        let close = async {
            if let Some(network) = self.network.take() {
                network.close().await;
            }
        };
        let (removed, ()) = tokio::join!(files, close);
        if let Err(error) = removed.map_err(io::Error::other).flatten() {
            tracing::warn!(container = %self.id, %error, "cannot remove a container; its runtime is asked to");
            if let Some(runtime) = &self.runtime {
                remains::delete(runtime, &self.shared.state(), &self.id).await;
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(network) = self.network.take() {
            network.leave();
        }
    }
}

/// Removes a folder with everything in it. One that is gone is fine.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
