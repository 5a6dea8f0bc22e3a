//! How a GPU comes into a container: its device nodes, or what its vendor makes of it.

use bacalhau_model::resources::Gpu;
use bacalhau_model::{Error, error::code};
use std::path::Path;

/// Where the kernel lists the nodes of each PCI device.
pub(crate) const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// What a container needs to use a GPU.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// These nodes, as paths below `/dev`.
    Nodes(Vec<String>),
    /// Nodes, and programs and libraries that fit the driver: NVIDIA's tools know which.
    Nvidia,
}

/// What a GPU needs. Blocks for a look into `pci_devices` (see [`PCI_DEVICES`]).
///
/// # Errors
/// A vendor nobody knows, or a GPU that has no device node.
pub(crate) fn need(gpu: &Gpu, pci_devices: &Path) -> Result<Need, Error> {
    match gpu.vendor.to_ascii_uppercase().as_str() {
        "NVIDIA" => Ok(Need::Nvidia),
        "AMD/ATI" | "AMD" => {
            // The compute device is common to all GPUs of AMD.
            let mut nodes = vec!["kfd".to_owned()];
            nodes.extend(drm_nodes(gpu, pci_devices)?);
            Ok(Need::Nodes(nodes))
        }
        "INTEL" => Ok(Need::Nodes(drm_nodes(gpu, pci_devices)?)),
        _ => {
            let message = format!("job requires GPU from unsupported vendor {:?}", gpu.vendor);
            Err(Error::new(code::BAD_REQUEST, message))
        }
    }
}

/// The nodes below `/dev/dri` of a GPU: its card and its renderer.
fn drm_nodes(gpu: &Gpu, pci_devices: &Path) -> Result<Vec<String>, Error> {
    let folder = pci_devices.join(&gpu.pci_address).join("drm");
    let names = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut nodes: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("card") || name.starts_with("render"))
        .map(|name| format!("dri/{name}"))
        .collect();
    nodes.sort();
    let plain = !gpu.pci_address.is_empty() && !gpu.pci_address.contains('/');
    if nodes.is_empty() || !plain {
        let message =
            format!("GPU {} ({}) has no device node below {}", gpu.index, gpu.name, folder.display());
        return Err(Error::new(code::NOT_FOUND, message)
            .hint("Check that the kernel's driver of the GPU is loaded on the compute node"));
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(vendor: &str, pci: &str) -> Gpu {
        Gpu { vendor: vendor.into(), pci_address: pci.into(), ..Gpu::default() }
    }

    #[test]
    fn each_vendor_its_way() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["card1", "renderD129", "controlD3"] {
            std::fs::create_dir_all(dir.path().join("0000:03:00.0/drm").join(name)).unwrap();
        }
        let need = |vendor, pci| need(&gpu(vendor, pci), dir.path());
        let nodes = |names: &[&str]| Need::Nodes(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(need("NVIDIA", "").unwrap(), Need::Nvidia);
        assert_eq!(need("AMD/ATI", "0000:03:00.0").unwrap(), nodes(&["kfd", "dri/card1", "dri/renderD129"]));
        assert_eq!(need("Intel", "0000:03:00.0").unwrap(), nodes(&["dri/card1", "dri/renderD129"]));
        assert!(need("Intel", "0000:99:00.0").is_err());
        assert!(need("Intel", "").is_err());
        let error = need("Matrox", "").unwrap_err();
        assert_eq!(error.message, "job requires GPU from unsupported vendor \"Matrox\"");
    }
}
