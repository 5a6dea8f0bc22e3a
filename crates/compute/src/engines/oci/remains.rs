//! What a killed node leaves: its containers end with it, and the next life removes the rest.
//!
//! A guard process waits for the end of the node. Nothing has to be told to it: its standard input ends when the node
//! does, however that happens.

use super::Shared;
use super::rootfs::{detach, mounted_below};
use super::runtime::Runtime;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Waits for the end of its input, then ends the runtimes that are still at work (they could make a container after all
/// others are gone) and all containers of this life (`$2`), takes their roots (below `$3`) out of sight and removes their
/// cgroups (the other arguments).
const GUARD: &str = r#"
trap '' INT TERM HUP QUIT
read -r _
for command in $(grep -l -z -x -F -e "$2" /proc/[0-9]*/cmdline); do
    grep -q -F bacalhau-guard "$command" && continue
    process=${command#/proc/}
    kill -9 "${process%/cmdline}"
done
for container in "$2"/*; do
    [ -d "$container" ] && "$1" --root "$2" delete --force "${container##*/}"
done
while read -r _ _ _ _ point _; do
    case "$point" in "$3"/*/root/oci/merged) umount -l "$point" ;; esac
done </proc/self/mountinfo
rmdir "$2"
shift 3
for cgroup in "$@"; do
    rmdir "$cgroup"/*/c/ "$cgroup"/*/ "$cgroup"
done
"#;

/// Longest time to remove one container.
const PATIENCE: Duration = Duration::from_secs(30);

/// The guard process of this node, started with the first container.
#[derive(Debug, Default)]
pub(super) struct Guard {
    child: Mutex<Option<Child>>,
}

impl Guard {
    /// Makes sure that it is there.
    pub(super) fn watch(&self, runtime: &Runtime, shared: &Shared) -> io::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(guard) = child.as_mut()
            && guard.try_wait()?.is_none()
        {
            return Ok(());
        }
        fs::create_dir_all(&shared.state)?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "bacalhau-guard"])
            .arg(&runtime.program)
            .args([&shared.state, &shared.config.executions])
            .args(shared.hierarchies.folders(&shared.cgroup_parent))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the node's group: what a terminal sends to that is not for the guard.
            .process_group(0)
            .spawn()?;
        *child = Some(guard);
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut guard) = child.take() {
            drop(guard.stdin.take());
            // It ends by itself; somebody has to take note of that.
            let _ = std::thread::Builder::new().name("guard".to_owned()).spawn(move || guard.wait());
        }
    }
}

/// Removes everything that former lives left. Nothing of this life runs yet.
pub(super) async fn clean_up(shared: &Shared) {
    let runtime = shared.runtime().await.ok();
    for life in other_lives(shared) {
        for container in containers(&life) {
            if let Some(runtime) = &runtime {
                delete(runtime, &life, &container).await;
            }
        }
        if let Err(error) = fs::remove_dir_all(&life) {
            tracing::warn!(path = %life.display(), %error, "cannot remove what a former life of the node left");
        }
    }
    for mount in
        mounted_below(&shared.config.executions).into_iter().filter(|path| path.ends_with("root/oci/merged"))
    {
        detach(&mount);
    }
    let (hierarchies, parent) = (shared.hierarchies.clone(), shared.cgroup_parent.clone());
    let prefix = shared.cgroup_prefix.clone();
    let removed = tokio::task::spawn_blocking(move || hierarchies.remove_all(&prefix, &parent)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "cannot remove the cgroups of a former life of the node");
    }
    shared.bridge.remove_rules().await;
}

fn other_lives(shared: &Shared) -> Vec<PathBuf> {
    let entries = fs::read_dir(&shared.config.folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| *path != shared.state && path.is_dir()).collect()
}

fn containers(life: &Path) -> Vec<String> {
    let entries = fs::read_dir(life).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Ends a container, whatever state it is in, and removes it.
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

/// The same where nothing can be awaited.
pub(super) fn delete_now(runtime: &Runtime, state: &Path, id: &str) {
    let _ = Command::new(&runtime.program)
        .arg("--root")
        .arg(state)
        .args(["delete", "--force", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
