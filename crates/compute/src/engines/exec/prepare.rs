//! From an execution to a plan for its supervisor: files, owners, places, environment. Blocks.

use super::plan::{Bind, Network, Plan, View};
use super::programs::{DEFAULT_PATH, Programs};
use super::user::User;
use super::{abilities::Abilities, error, places};
use crate::engines::EngineRequest;
use crate::sources::{Mount, MountData};
use bacalhau_model::exec::ExecParams;
use bacalhau_model::{Error, Gpu, NetworkType, error::code};
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a task with a view of its own starts, and keeps temporary files.
const TMP: &str = "/tmp";

/// What the node has decided for all tasks.
pub(super) struct House<'a> {
    pub(super) programs: &'a Programs,
    pub(super) user: Option<User>,
    pub(super) abilities: &'a Abilities,
}

/// Makes a plan, without a cgroup.
pub(super) fn plan(house: &House<'_>, request: &EngineRequest) -> Result<Plan, Error> {
    let params = ExecParams::read(&request.engine).map_err(error)?;
    let own = own_places(&request.mounts, request.results.iter().map(|r| r.path.as_str()));
    own.iter().try_for_each(|place| places::check(place))?;
    if !own.is_empty() {
        house.abilities.need_view()?;
    }
    let network = network(request.network.r#type, house.abilities)?;
    let path = request.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    let program = house.programs.find(&params, path, &own)?;

    let lay_out = |e: io::Error| {
        Error::new(code::INTERNAL_ERROR, format!("cannot lay out the task's files: {e}"))
            .component(super::COMPONENT)
            .hint("Check the free space of the compute node")
            .retryable()
    };
    let tmp = request.work.create("root/tmp").map_err(lay_out)?;
    if let Some(user) = house.user {
        give(&tmp, user).map_err(lay_out)?;
    }
    let view = if house.abilities.has_view() {
        let root = request.work.create("root/view").map_err(lay_out)?;
        Some(View { root, tmp: tmp.clone(), binds: binds(request, house.user).map_err(lay_out)? })
    } else {
        None
    };
    let home = match (&view, house.user) {
        (Some(_), _) => PathBuf::from(TMP),
        // Nobody else can enter the node's folder.
        (None, Some(_)) => PathBuf::from("/"),
        (None, None) => tmp,
    };
    Ok(Plan {
        program,
        name: params.command,
        arguments: params.arguments,
        env: environment(&request.env, gpu_variables(&request.resources.gpus), &home),
        folder: home.join(&params.working_directory),
        user: house.user.map(|user| (user.uid, user.gid)),
        cgroup: None,
        user_namespace: house.abilities.user_namespace,
        view,
        network,
    })
}

/// Where a task's data will lie.
pub(super) fn own_places<'a>(mounts: &'a [Mount], results: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    mounts.iter().map(|mount| mount.target.as_str()).chain(results).collect()
}

/// What a network type means for a process.
pub(super) fn network(wanted: NetworkType, abilities: &Abilities) -> Result<Network, Error> {
    match wanted {
        NetworkType::Default | NetworkType::Host | NetworkType::Full => Ok(Network::Host),
        NetworkType::None => abilities.need_network(wanted).map(|()| Network::None),
        NetworkType::Http => abilities.need_network(wanted).map(|()| Network::Proxy),
        NetworkType::Bridge => Err(error("the exec engine does not support network type Bridge")
            .hint("Use Host, HTTP or None; or a container for a bridge")),
    }
}

/// Never the node's own environment: what it has, tokens among it, is none of a task's business.
fn environment(task: &[(String, String)], gpus: Vec<(String, String)>, home: &Path) -> Vec<(String, String)> {
    let home = home.to_string_lossy().into_owned();
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), home.clone()),
        ("TMPDIR".to_owned(), home),
    ]);
    env.extend(gpus);
    env.extend(task.iter().cloned());
    env.into_iter().collect()
}

/// Tells the task's libraries which GPUs are its own. That is a request, not a wall.
fn gpu_variables(gpus: &[Gpu]) -> Vec<(String, String)> {
    let names =
        [("nvidia", "CUDA_VISIBLE_DEVICES"), ("amd", "ROCR_VISIBLE_DEVICES"), ("intel", "ZE_AFFINITY_MASK")];
    let of = |vendor: &str| {
        let own = gpus.iter().filter(|gpu| gpu.vendor.to_ascii_lowercase().starts_with(vendor));
        own.map(|gpu| gpu.index.to_string()).collect::<Vec<_>>().join(",")
    };
    let all = names.into_iter().map(|(vendor, name)| (name.to_owned(), of(vendor)));
    all.filter(|(_, indices)| !indices.is_empty()).collect()
}

fn binds(request: &EngineRequest, user: Option<User>) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for (number, mount) in request.mounts.iter().enumerate() {
        let from = match &mount.data {
            MountData::Folder(path) | MountData::File(path) => path.clone(),
            MountData::Bytes(bytes) => {
                let file = request.work.create("root/data")?.join(number.to_string());
                fs::write(&file, bytes)?;
                file
            }
        };
        // Folders that an administrator opened for jobs keep their owner.
        if let Some(user) = user.filter(|_| from.starts_with(request.work.path())) {
            give_all(&from, user)?;
        }
        binds.push(Bind {
            from,
            to: mount.target.clone(),
            is_file: mount.is_file(),
            read_only: mount.read_only,
        });
    }
    for result in &request.results {
        if let Some(user) = user {
            give(&result.host_path, user)?;
        }
        binds.push(Bind {
            from: result.host_path.clone(),
            to: result.path.clone(),
            is_file: false,
            read_only: false,
        });
    }
    // What lies inside another comes after it.
    binds.sort_by(|a, b| Path::new(&a.to).cmp(Path::new(&b.to)));
    Ok(binds)
}

/// Hands one file or folder over; a link itself, not where it leads.
fn give(path: &Path, user: User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    Ok(chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Without recursion, as all that walks over what a task or a stranger has made.
fn give_all(path: &Path, user: User) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        give(&path, user)?;
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Opens folders that the task closed to its own user, who is the node's: they have to be read and removed. Root needs
/// no such thing. Links are not followed.
pub(super) fn reopen(folder: &Path) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // What cannot be changed cannot be removed either, and that is told.
                let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755));
                waiting.push(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_folders_can_be_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("a"), dir.path().join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("f"), "").unwrap();
        for folder in [&inner, &outer] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o0)).unwrap();
        }
        reopen(dir.path());
        assert_eq!(fs::metadata(&outer).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn gpus_are_told_by_their_vendors_variables() {
        let gpu = |index, vendor: &str| Gpu { index, vendor: vendor.into(), ..Gpu::default() };
        assert!(gpu_variables(&[]).is_empty());
        let told = gpu_variables(&[gpu(0, "NVIDIA"), gpu(3, "NVIDIA"), gpu(1, "AMD/ATI")]);
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(told, [pair("CUDA_VISIBLE_DEVICES", "0,3"), pair("ROCR_VISIBLE_DEVICES", "1")]);
    }

    #[test]
    fn the_environment_is_the_tasks_own() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let env = environment(&[pair("HOME", "/mine"), pair("X", "1")], Vec::new(), Path::new("/tmp"));
        assert_eq!(
            env,
            [pair("HOME", "/mine"), pair("PATH", DEFAULT_PATH), pair("TMPDIR", "/tmp"), pair("X", "1")]
        );
    }
}
