//! How GPUs come into a container: requests to NVIDIA's runtime, device nodes for AMD and Intel.

use super::errors::COMPONENT;
use bacalhau_model::resources::Gpu;
use bacalhau_model::{Error, error::code};
use bollard::models::{DeviceMapping, DeviceRequest};
use std::path::Path;

/// AMD's compute device, common to all its GPUs.
const KFD: &str = "/dev/kfd";

/// Where the kernel lists the nodes of each PCI device.
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// GPUs in Docker's words.
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
        match gpu.vendor.to_ascii_uppercase().as_str() {
            "NVIDIA" => nvidia.push(gpu.index.to_string()),
            "AMD/ATI" | "AMD" => {
                if !devices.nodes.iter().any(|node| node.path_on_host.as_deref() == Some(KFD)) {
                    devices.nodes.push(node(KFD));
                }
                devices.nodes.extend(drm_nodes(gpu, pci_devices)?);
            }
            "INTEL" => devices.nodes.extend(drm_nodes(gpu, pci_devices)?),
            _ => {
                let message = format!("job requires GPU from unsupported vendor {:?}", gpu.vendor);
                return Err(Error::new(code::BAD_REQUEST, message).component(COMPONENT));
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

/// The nodes below `/dev/dri` of a GPU: its card and its renderer.
fn drm_nodes(gpu: &Gpu, pci_devices: &Path) -> Result<Vec<DeviceMapping>, Error> {
    let folder = pci_devices.join(&gpu.pci_address).join("drm");
    let names = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut nodes: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("card") || name.starts_with("render"))
        .map(|name| format!("/dev/dri/{name}"))
        .collect();
    nodes.sort();
    let plain = !gpu.pci_address.is_empty() && !gpu.pci_address.contains('/');
    if nodes.is_empty() || !plain {
        let message =
            format!("GPU {} ({}) has no device node below {}", gpu.index, gpu.name, folder.display());
        return Err(Error::new(code::NOT_FOUND, message)
            .component(COMPONENT)
            .hint("Check that the kernel's driver of the GPU is loaded on the compute node"));
    }
    Ok(nodes.iter().map(|path| node(path)).collect())
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
    fn each_vendor_its_way() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["card1", "renderD129", "controlD3"] {
            std::fs::create_dir_all(dir.path().join("0000:03:00.0/drm").join(name)).unwrap();
        }
        let all = [
            gpu("NVIDIA", 0, ""),
            gpu("AMD/ATI", 1, "0000:03:00.0"),
            gpu("Nvidia", 3, ""),
            gpu("Intel", 4, "0000:03:00.0"),
        ];
        let found = translate(&all, dir.path()).unwrap();
        assert_eq!(found.requests.len(), 1);
        assert_eq!(found.requests[0].device_ids.as_deref().unwrap(), ["0", "3"]);
        assert_eq!(found.requests[0].capabilities.as_deref().unwrap(), [["gpu"]]);
        let nodes: Vec<_> = found.nodes.iter().map(|n| n.path_on_host.as_deref().unwrap()).collect();
        let drm = ["/dev/dri/card1", "/dev/dri/renderD129"];
        assert_eq!(nodes, [&["/dev/kfd"][..], &drm, &drm].concat());

        assert!(translate(&[gpu("Intel", 0, "0000:99:00.0")], dir.path()).is_err());
        assert!(translate(&[gpu("Intel", 0, "")], dir.path()).is_err());
        let error = translate(&[gpu("Matrox", 0, "")], dir.path()).unwrap_err();
        assert_eq!(error.message, "job requires GPU from unsupported vendor \"Matrox\"");
        assert_eq!(translate(&[], dir.path()).unwrap(), Devices::default());
    }
}
