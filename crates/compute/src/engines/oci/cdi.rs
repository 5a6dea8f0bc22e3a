//! Specifications of the Container Device Interface: files in which a vendor's tools say what a container needs to use a
//! device (`nvidia-ctk cdi generate`). The operator's, so what they say is done.

use super::bundle::Bind;
use super::devices::Devices;
use super::error;
use bacalhau_model::Error;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of one file that are read; real ones have some tens of KiB.
const LARGEST: u64 = 4 << 20;

/// The moments at which a runtime calls programs.
const MOMENTS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    kind: String,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Device {
    name: String,
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeviceNode {
    path: String,
    host_path: String,
    permissions: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    host_path: PathBuf,
    container_path: String,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hook {
    hook_name: String,
    #[serde(flatten)]
    call: Call,
}

/// A program that a runtime calls, in the runtime's own words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Call {
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
}

/// Adds what the devices of a kind with these names need. Of several files that have a device the one in the last folder
/// counts, there the first by name.
///
/// # Errors
/// No file has one of the devices, or a node of it is not there.
pub(super) fn edit(
    devices: &mut Devices,
    folders: &[PathBuf],
    kind: &str,
    names: &[String],
) -> Result<(), Error> {
    let specs: Vec<Spec> = folders.iter().rev().flat_map(|folder| read_all(folder, kind)).collect();
    let mut used = Vec::new();
    for name in names {
        let found = specs.iter().enumerate().find_map(|(number, spec)| {
            let device = spec.devices.iter().find(|device| device.name == *name)?;
            Some((number, spec, device))
        });
        let Some((number, spec, device)) = found else {
            let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            return Err(error(format!(
                "engine oci needs a specification of the device {kind}={name}, and there is none in {}",
                places.join(" or ")
            ))
            .hint("Have the vendor's tools make it on the compute node (nvidia-ctk cdi generate), or use a Docker Engine"));
        };
        if !used.contains(&number) {
            used.push(number);
            spec.container_edits.apply(devices)?;
        }
        device.container_edits.apply(devices)?;
    }
    Ok(())
}

/// The specifications of a kind in a folder. What cannot be read is told in the node's log and left out.
fn read_all(folder: &Path, kind: &str) -> Vec<Spec> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("json" | "yaml" | "yml"))
    };
    let mut paths: Vec<PathBuf> = entries.filter(is_one).collect();
    paths.sort();
    let read = |path: PathBuf| match read(&path) {
        Ok(spec) => Some(spec).filter(|spec| spec.kind == kind),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a specification of devices cannot be read");
            None
        }
    };
    paths.into_iter().filter_map(read).collect()
}

/// JSON is YAML, too.
fn read(path: &Path) -> io::Result<Spec> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    serde_saphyr::from_str(&text).map_err(io::Error::other)
}

impl Edits {
    fn apply(&self, devices: &mut Devices) -> Result<(), Error> {
        for node in &self.device_nodes {
            let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
            let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
            devices.add_node(Path::new(host), &node.path, access)?;
        }
        devices.env.extend(self.env.iter().cloned());
        devices.binds.extend(self.mounts.iter().map(|mount| Bind {
            source: mount.host_path.clone(),
            target: mount.container_path.clone(),
            read_only: mount.options.iter().any(|option| option == "ro"),
        }));
        for hook in self.hooks.iter().filter(|hook| MOMENTS.contains(&hook.hook_name.as_str())) {
            devices.hooks.entry(hook.hook_name.clone()).or_default().push(hook.call.clone());
        }
        devices.groups.extend(&self.additional_gids);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `nvidia-ctk cdi generate` writes it, with nodes that every machine has.
    const SPEC: &str = "
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: \"0\"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      hostPath: /dev/zero
- name: \"1\"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia1
      hostPath: /dev/full
- name: all
  containerEdits: {}
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/null
    permissions: rw
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib]
  - hookName: never
    path: /bin/false
  mounts:
  - hostPath: /usr/bin/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
";

    fn edited(folders: &[PathBuf], names: &[&str]) -> Result<Devices, Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut devices = Devices::default();
        edit(&mut devices, folders, "nvidia.com/gpu", &names).map(|()| devices)
    }

    #[test]
    fn a_specification_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("nvidia.yaml"), SPEC).unwrap();
        let folders = [dir.path().to_owned()];
        let devices = edited(&folders, &["0", "1"]).unwrap();
        let nodes: Vec<serde_json::Value> =
            devices.to_make().iter().map(|node| node["path"].clone()).collect();
        assert_eq!(nodes, ["/dev/null", "/dev/nvidia0", "/dev/nvidia1"]);
        assert_eq!(devices.allowed()[0]["access"], "rw");
        assert_eq!(devices.env, ["NVIDIA_VISIBLE_DEVICES=void"]);
        assert_eq!(devices.binds.len(), 1);
        assert!(devices.binds[0].read_only);
        assert_eq!(devices.hooks.len(), 1);
        assert_eq!(devices.hooks["createContainer"][0].args[1], "update-ldcache");
        let error = edited(&folders, &["0", "2"]).unwrap_err();
        assert!(error.message.contains("nvidia.com/gpu=2"), "{error}");
    }

    #[test]
    fn the_last_folder_wins_and_broken_files_are_left_out() {
        let (usual, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(usual.path().join("a.yaml"), SPEC).unwrap();
        std::fs::write(usual.path().join("broken.yaml"), "devices: [").unwrap();
        std::fs::write(usual.path().join("nvidia.yaml.bak"), "devices: [").unwrap();
        let json = r#"{"kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": {"env": ["LATE=1"]}}]}"#;
        std::fs::write(late.path().join("late.json"), json).unwrap();
        let folders = [usual.path().to_owned(), late.path().to_owned(), "/nowhere".into()];
        assert_eq!(edited(&folders, &["0"]).unwrap().env, ["LATE=1"]);
        assert_eq!(edited(&folders, &["1"]).unwrap().env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    }
}
