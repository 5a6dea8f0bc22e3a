//! GPUs of a container: device nodes for those of AMD and Intel, and for NVIDIA's what a specification of the Container
//! Device Interface says. Reads `/sys`, `/dev` and the specifications, so it blocks.

use super::bundle::Bind;
use super::{COMPONENT, cdi, error};
use crate::engines::container::gpus::{Need, PCI_DEVICES, need};
use bacalhau_model::Error;
use bacalhau_model::resources::Gpu;
use rustix::fs::{major, minor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The kind of NVIDIA's GPUs in specifications; their names are their indices.
const NVIDIA: &str = "nvidia.com/gpu";

/// Where a machine tells of its devices.
#[derive(Clone, Debug)]
pub struct DeviceRoots {
    /// PCI devices, each with the names of its nodes.
    pub pci: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
    /// Specifications of the Container Device Interface; those in later folders win.
    pub cdi: Vec<PathBuf>,
}

impl Default for DeviceRoots {
    fn default() -> DeviceRoots {
        let cdi = ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).into();
        DeviceRoots { pci: PCI_DEVICES.into(), dev: "/dev".into(), cdi }
    }
}

/// What GPUs add to a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices {
    pub(super) nodes: Vec<Node>,
    /// `NAME=value`.
    pub(super) env: Vec<String>,
    pub(super) binds: Vec<Bind>,
    /// Programs that the runtime calls, by the moment.
    pub(super) hooks: BTreeMap<String, Vec<cdi::Call>>,
    /// Groups of the container's user.
    pub(super) groups: Vec<u32>,
}

/// A device node that the runtime makes inside as it is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    path: String,
    kind: char,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    access: String,
}

impl Devices {
    /// Of these GPUs.
    ///
    /// # Errors
    /// One that cannot be given to a container, and why.
    pub(super) fn of(gpus: &[Gpu], roots: &DeviceRoots) -> Result<Devices, Error> {
        let mut devices = Devices::default();
        let mut nvidia = Vec::new();
        for gpu in gpus {
            match need(gpu, &roots.pci).map_err(|error| error.component(COMPONENT))? {
                Need::Nvidia => nvidia.push(gpu.index.to_string()),
                Need::Nodes(names) => {
                    for name in names {
                        devices.add_node(&roots.dev.join(&name), &format!("/dev/{name}"), "rwm")?;
                    }
                }
            }
        }
        if !nvidia.is_empty() {
            cdi::edit(&mut devices, &roots.cdi, NVIDIA, &nvidia)?;
        }
        Ok(devices)
    }

    /// A node of the host, under a path inside. Each path once.
    pub(super) fn add_node(&mut self, host: &Path, inside: &str, access: &str) -> Result<(), Error> {
        let node = Node::read(host, inside, access).map_err(|e| {
            error(format!("the device node {} of a GPU cannot be used: {e}", host.display()))
                .hint("Check that the kernel's driver of the GPU is loaded on the compute node")
        })?;
        if !self.nodes.iter().any(|known| known.path == node.path) {
            self.nodes.push(node);
        }
        Ok(())
    }

    /// For the runtime: nodes to make.
    pub(super) fn to_make(&self) -> Vec<Value> {
        let make = |node: &Node| {
            json!({"path": node.path, "type": node.kind, "major": node.major, "minor": node.minor,
                "fileMode": node.mode, "uid": node.uid, "gid": node.gid})
        };
        self.nodes.iter().map(make).collect()
    }

    /// For the runtime: nodes that may be used.
    pub(super) fn allowed(&self) -> Vec<Value> {
        let allow = |node: &Node| json!({"allow": true, "type": node.kind, "major": node.major, "minor": node.minor, "access": node.access});
        self.nodes.iter().map(allow).collect()
    }
}

impl Node {
    fn read(host: &Path, inside: &str, access: &str) -> io::Result<Node> {
        let found = std::fs::metadata(host)?;
        let kind = match found.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => return Err(io::Error::other("it is no device")),
        };
        Ok(Node {
            path: inside.to_owned(),
            kind,
            major: major(found.rdev()),
            minor: minor(found.rdev()),
            mode: found.mode() & 0o777,
            uid: found.uid(),
            gid: found.gid(),
            access: access.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(vendor: &str, index: u64, pci: &str) -> Gpu {
        Gpu { vendor: vendor.into(), index, pci_address: pci.into(), ..Gpu::default() }
    }

    /// A machine with one card at address `3`; nodes are links to others that every machine has.
    fn machine(folder: &Path) -> DeviceRoots {
        std::fs::create_dir_all(folder.join("pci/3/drm/card0")).unwrap();
        std::fs::create_dir_all(folder.join("dev/dri")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("dev/dri/card0")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("dev/kfd")).unwrap();
        DeviceRoots { pci: folder.join("pci"), dev: folder.join("dev"), cdi: vec![folder.join("cdi")] }
    }

    #[test]
    fn nodes_are_made_and_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let roots = machine(dir.path());
        let devices = Devices::of(&[gpu("AMD/ATI", 0, "3")], &roots).unwrap();
        assert_eq!(devices.to_make().len(), 2);
        let expected = json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"});
        assert_eq!(devices.allowed()[1], expected);
        assert_eq!(devices.to_make()[1]["path"], "/dev/dri/card0");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let roots = machine(dir.path());
        let says = |gpu: Gpu| Devices::of(&[gpu], &roots).unwrap_err().message;
        assert!(says(gpu("NVIDIA", 7, "")).contains("nvidia.com/gpu=7"), "{}", says(gpu("NVIDIA", 7, "")));
        assert!(says(gpu("Intel", 0, "4")).contains("no device node"));
        std::fs::remove_file(dir.path().join("dev/dri/card0")).unwrap();
        assert!(says(gpu("Intel", 0, "3")).contains("dri/card0"));
        std::fs::write(dir.path().join("dev/dri/card0"), "").unwrap();
        assert!(says(gpu("Intel", 0, "3")).contains("it is no device"));
    }
}
