//! GPUs in Docker's words: requests to NVIDIA's runtime, device nodes for AMD and Intel.

use super::errors::COMPONENT;
use crate::engines::container::gpus::{Need, PCI_DEVICES, need};
use bacalhau_model::Error;
use bacalhau_model::resources::Gpu;
use bollard::models::{DeviceMapping, DeviceRequest};
use std::path::Path;

/// What a container's description says of its GPUs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Devices {
    pub(super) requests: Vec<DeviceRequest>,
    pub(super) nodes: Vec<DeviceMapping>,
}

/// Translates GPUs. Blocks for a few look-ups in `/sys`.
///
/// # Errors
/// A vendor nobody knows, or a GPU that has no device node.
pub(super) fn devices(gpus: &[Gpu]) -> Result<Devices, Error> {
    translate(gpus, Path::new(PCI_DEVICES))
}

fn translate(gpus: &[Gpu], pci_devices: &Path) -> Result<Devices, Error> {
    let mut nvidia = Vec::new();
    let mut devices = Devices::default();
    for gpu in gpus {
        match need(gpu, pci_devices).map_err(|error| error.component(COMPONENT))? {
            Need::Nvidia => nvidia.push(gpu.index.to_string()),
            Need::Nodes(names) => {
                for node in names.iter().map(|name| node(&format!("/dev/{name}"))) {
                    if !devices.nodes.contains(&node) {
                        devices.nodes.push(node);
                    }
                }
            }
        }
    }
    if !nvidia.is_empty() {
        devices.requests.push(DeviceRequest {
            device_ids: Some(nvidia),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        });
    }
    Ok(devices)
}

fn node(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(vendor: &str, index: u64, pci: &str) -> Gpu {
        Gpu { vendor: vendor.into(), index, pci_address: pci.into(), ..Gpu::default() }
    }

    #[test]
    fn cards_of_every_vendor_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["3/drm/card1", "4/drm/card2"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let all =
            [gpu("NVIDIA", 0, ""), gpu("AMD/ATI", 1, "3"), gpu("AMD/ATI", 2, "4"), gpu("Nvidia", 3, "")];
        let found = translate(&all, dir.path()).unwrap();
        assert_eq!(found.requests.len(), 1);
        assert_eq!(found.requests[0].device_ids.as_deref().unwrap(), ["0", "3"]);
        assert_eq!(found.requests[0].capabilities.as_deref().unwrap(), [["gpu"]]);
        let nodes: Vec<_> = found.nodes.iter().map(|n| n.path_on_host.as_deref().unwrap()).collect();
        assert_eq!(nodes, ["/dev/kfd", "/dev/dri/card1", "/dev/dri/card2"]);
        assert_eq!(translate(&[gpu("Intel", 0, "99")], dir.path()).unwrap_err().component, COMPONENT);
        assert_eq!(translate(&[], dir.path()).unwrap(), Devices::default());
    }
}
