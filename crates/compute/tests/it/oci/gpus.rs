//! GPUs of containers, with cards that are made up: device nodes of other things under the names of cards.

use super::{nothing_left, settings, site};
use crate::support::{Case, Node};
use bacalhau_compute::engines::oci::DeviceRoots;
use bacalhau_model::resources::Gpu;
use bacalhau_model::{AllocatedResources, Execution, Resources};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn gpu(vendor: &str, index: u64, pci: &str) -> Gpu {
    Gpu { index, name: "Card".into(), vendor: vendor.into(), pci_address: pci.into(), ..Gpu::default() }
}

/// A card of AMD at address `3`. Its renderer is a device that containers may not use otherwise (that of FUSE).
fn machine(folder: &Path) -> DeviceRoots {
    std::fs::create_dir_all(folder.join("pci/3/drm/renderD128")).unwrap();
    std::fs::create_dir_all(folder.join("dev/dri")).unwrap();
    let made = Command::new("mknod").arg(folder.join("dev/dri/renderD128")).args(["c", "10", "229"]).status();
    assert!(made.unwrap().success());
    symlink("/dev/zero", folder.join("dev/kfd")).unwrap();
    std::fs::create_dir(folder.join("cdi")).unwrap();
    DeviceRoots { pci: folder.join("pci"), dev: folder.join("dev"), cdi: vec![folder.join("cdi")] }
}

async fn node(gpus: &[Gpu], roots: &DeviceRoots) -> Node {
    Node::with(|config| {
        config.oci = settings(config.oci.clone());
        config.oci.gpus = gpus.to_vec();
        config.oci.devices = roots.clone();
    })
    .await
}

fn with(mut case: Case, gpus: &[Gpu]) -> Execution {
    case.task.resources.gpu = gpus.len().to_string();
    let mut execution = case.execution();
    let resources = Resources { gpu: gpus.len() as u64, gpus: gpus.to_vec(), ..Resources::default() };
    execution.allocated_resources = AllocatedResources { tasks: [("main".to_owned(), resources)].into() };
    execution
}

#[tokio::test]
async fn cards_of_amd_and_intel_are_device_nodes() {
    let Some(site) = site() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gpus = [gpu("AMD/ATI", 0, "3")];
    let node = node(&gpus, &machine(dir.path())).await;
    let script = "head -c 2 /dev/kfd | od -An -tx1; ls /dev/dri; (: < /dev/dri/renderD128)";
    let execution = with(site.script(script), &gpus);
    node.executor.probe(&execution).await.unwrap();
    let output = node.run(execution).await.unwrap().run_output;
    assert_eq!(output.stdout, " 00 00\nrenderD128\n", "{output:?}");
    // Without a driver behind it the kernel says something else.
    assert!(!output.stderr.contains("not permitted"), "{output:?}");
    // Nobody else has them, nor may use them.
    let script = "ls /dev/dri /dev/kfd; mknod /dev/own c 10 229 && : < /dev/own";
    let output = node.run(site.script(script).execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "", "{output:?}");
    assert!(output.stderr.contains("/dev/own: Operation not permitted"), "{output:?}");
    nothing_left(&node);
}

#[tokio::test]
async fn cards_of_nvidia_are_what_their_specification_says() {
    let Some(site) = site() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (roots, gpus) = (machine(dir.path()), [gpu("NVIDIA", 0, "")]);
    let node = node(&gpus, &roots).await;
    let tool = dir.path().join("nvidia-smi");
    std::fs::write(&tool, "#!/bin/sh\necho one card\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = "nvidia-smi; head -c 2 /dev/nvidia0 | od -An -tx1; echo $NVIDIA_VISIBLE_DEVICES";
    let execution = with(site.script(script), &gpus);

    // Without a specification: refused with words, and not run without the card either.
    let refused = node.executor.probe(&execution).await.unwrap_err();
    assert!(refused.message.contains("specification of the device nvidia.com/gpu=0"), "{refused}");
    assert!(!refused.retryable && !refused.fails_execution);
    let failure = node.run(execution.clone()).await.unwrap_err();
    assert_eq!(failure.error.message, refused.message);
    nothing_left(&node);

    let called = dir.path().join("called");
    let spec = format!(
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    \
         - {{path: /dev/nvidia0, hostPath: /dev/zero}}\ncontainerEdits:\n  env: [NVIDIA_VISIBLE_DEVICES=void]\n  \
         mounts:\n  - {{hostPath: {}, containerPath: /bin/nvidia-smi, options: [ro, bind]}}\n  hooks:\n  - hookName: \
         createRuntime\n    path: /bin/sh\n    args: [sh, -c, \"cat > {}\"]\n",
        tool.display(),
        called.display()
    );
    std::fs::write(roots.cdi[0].join("nvidia.yaml"), spec).unwrap();
    node.executor.probe(&execution).await.unwrap();
    let output = node.run(execution).await.unwrap().run_output;
    assert_eq!(output.stdout, "one card\n 00 00\nvoid\n", "{output:?}");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(called).unwrap()).unwrap();
    assert!(state["bundle"].as_str().is_some_and(|bundle| Path::new(bundle).is_absolute()), "{state}");
    nothing_left(&node);
}
