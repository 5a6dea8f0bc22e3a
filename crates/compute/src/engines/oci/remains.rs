//! What a former life of the node left and nobody goes on with: it is ended and removed.

use super::Shared;
use super::container::remove_folder;
use super::record::{self, Record};
use super::rootfs::{detach, mounted_below};
use super::runtime::Runtime;
use crate::engines::supervisor::Order;
use crate::engines::supervisor::client::Supervisor;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Longest time to remove one container.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time a supervisor takes to end when it was told to kill everything.
const BURIAL: Duration = Duration::from_secs(15);

/// Ends and removes what former lives left but for what belongs to `keep`, and sees to it that nothing that this still
/// uses goes. Nothing of this life runs yet.
pub(super) async fn clean_up(shared: &Arc<Shared>, keep: &BTreeSet<String>) {
    let mut wired = false;
    for id in record::all(shared) {
        if !keep.contains(&id) {
            remove(shared, &id).await;
        } else if let Some(record) = Record::read(&shared.kept(&id)) {
            wired |= record.network.wire.is_some();
            if let Ok(images) = shared.images() {
                let layers = images.hold(&record.layers);
                shared.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id, layers);
            }
        }
    }
    remove_older(shared).await;
    let (shared_, keep) = (Arc::clone(shared), keep.clone());
    // A panic in there has been logged; the next start tries again.
    let _ = tokio::task::spawn_blocking(move || remove_strays(&shared_, &keep)).await;
    // Whoever needs them sets them anew; what waits for its adoption needs them meanwhile.
    if !wired {
        shared.bridge.remove_rules().await;
    }
}

/// Ends a container, whatever state it is in, and removes everything outside of its execution's folder.
pub(super) async fn remove(shared: &Arc<Shared>, id: &str) {
    if let Some(mut supervisor) = Supervisor::find(&shared.kept(id)).await {
        supervisor.order(Order::Kill).await;
        if !supervisor.ended(BURIAL).await {
            tracing::warn!(container = %id, "a supervisor does not end; it is killed with its container");
        }
    }
    let cgroup = shared.machine.group(&shared.cgroup(id));
    let (state, kept) = (shared.state().join(id), shared.kept(id));
    let root = shared.config.executions.join(id).join(super::prepare::FOLDER).join("merged");
    let removed = tokio::task::spawn_blocking(move || {
        cgroup.dissolve()?;
        detach(&root);
        remove_folder(&state)?;
        remove_folder(&kept)
    });
    if let Err(error) = removed.await.map_err(io::Error::other).flatten() {
        tracing::warn!(container = %id, %error, "cannot remove a container of a former life of the node; its runtime is asked to");
        if let Ok(runtime) = shared.runtime().await {
            delete(&runtime, &shared.state(), id).await;
        }
    }
}

/// What no record is about: mounts and cgroups of containers that were never started. Blocks.
fn remove_strays(shared: &Shared, keep: &BTreeSet<String>) {
    let executions = &shared.config.executions;
    for mount in mounted_below(executions) {
        let of = mount.strip_prefix(executions).ok().and_then(|path| path.iter().next()?.to_str());
        if mount.ends_with(Path::new(super::prepare::FOLDER).join("merged"))
            && !of.is_some_and(|id| keep.contains(id))
        {
            detach(&mount);
        }
    }
    let parent = shared.cgroup_parent.trim_start_matches('/');
    for name in shared.machine.groups_below("/") {
        let groups = if name == parent {
            let below = shared.machine.groups_below(parent).into_iter();
            below.filter(|id| !keep.contains(id)).map(|id| format!("{parent}/{id}")).collect()
        } else if name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('-')) {
            // Of a version that gave each of its lives a group.
            vec![name]
        } else {
            continue;
        };
        for group in groups {
            if let Err(error) = shared.machine.group(&group).dissolve() {
                tracing::warn!(%group, %error, "cannot remove a cgroup of a former life of the node");
            }
        }
    }
}

/// Containers of a version whose containers ended with the node: each of its lives had a folder.
async fn remove_older(shared: &Arc<Shared>) {
    let own = [shared.state(), shared.config.folder.join("containers")];
    let entries = fs::read_dir(&shared.config.folder).into_iter().flatten().flatten();
    let lives: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| !own.contains(path) && path.is_dir()).collect();
    for life in lives {
        if let Ok(runtime) = shared.runtime().await {
            for container in containers(&life) {
                delete(&runtime, &life, &container).await;
            }
        }
        if let Err(error) = remove_folder(&life) {
            tracing::warn!(path = %life.display(), %error, "cannot remove what a former life of the node left");
        }
    }
}

fn containers(life: &Path) -> Vec<String> {
    let entries = fs::read_dir(life).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Has the runtime end a container, whatever state it is in, and remove it.
pub(super) async fn delete(runtime: &Runtime, state: &Path, id: &str) {
    let output = tokio::process::Command::new(&runtime.program)
        .arg("--root")
        .arg(state)
        .args(["delete", "--force", id])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PATIENCE, output).await {
        Ok(Ok(output)) if output.status.success() => {}
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().take(300).collect();
            tracing::warn!(container = %id, %said, "cannot remove a container");
        }
        Ok(Err(error)) => tracing::warn!(container = %id, %error, "cannot remove a container"),
        Err(_) => tracing::warn!(container = %id, "cannot remove a container: the runtime does not end"),
    }
}
