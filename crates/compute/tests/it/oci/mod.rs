//! Engine `oci` with a real runtime (`runc` or `crun`) and a real registry.

mod adoption;
mod basics;
mod gpus;
mod limits;
mod networks;
mod remains;

use crate::support::{Case, Node};
use crate::test_registry::{TestRegistry, busybox, is_installed};
use bacalhau_compute::engines::oci::{OciConfig, OciEngine};
use bacalhau_compute::engines::{Engine, supervisor};
use bacalhau_images::Credentials;
use bacalhau_model::{SpecConfig, Task};
use serde_json::json;
use sha2::Digest;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// What all tests of this program use.
pub(crate) struct Site {
    pub(crate) registry: TestRegistry,
}

/// The registry with its images; `None`, said aloud, where containers cannot be run.
pub(crate) fn site() -> Option<&'static Site> {
    static SITE: OnceLock<Option<Site>> = OnceLock::new();
    SITE.get_or_init(|| {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            eprintln!("SKIPPED: containers need root");
            return None;
        }
        if !is_installed("runc") && !is_installed("crun") {
            eprintln!("SKIPPED: neither runc nor crun is installed");
            return None;
        }
        let layer = busybox()?;
        let registry = TestRegistry::start()?;
        // A runtime of its own: those of the tests come and go.
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let architecture = bacalhau_images::Platform::this().architecture;
                    let layers = [layer];
                    for (name, config) in [
                        ("busybox", json!({"Cmd": ["sh", "-c", "echo no command"]})),
                        ("both", json!({"Entrypoint": ["echo", "entry"], "Cmd": ["cmd"], "Env": ["A=image", "B=image"]})),
                        ("user", json!({"User": "worker", "WorkingDir": "/work/dir", "Cmd": ["id"]})),
                    ] {
                        registry.push(name, &architecture, &config, &layers).await;
                    }
                });
            });
            pushing.join().unwrap();
        });
        Some(Site { registry })
    })
    .as_ref()
}

impl Site {
    /// A job that runs this image.
    pub(crate) fn image(&self, name: &str) -> Case {
        let engine = SpecConfig::new("oci").with("Image", self.registry.name(name));
        Case { task: Task { name: "main".into(), engine, ..Task::default() }, memory: 0, job_type: "batch" }
            .network_type("None")
    }

    /// A job that runs this script in busybox.
    pub(crate) fn script(&self, text: &str) -> Case {
        self.image("busybox").param("Entrypoint", vec!["sh", "-c", text])
    }
}

impl Case {
    pub(crate) fn network_type(mut self, kind: &str) -> Case {
        self.task.network = Some(serde_json::from_value(json!({"Type": kind})).unwrap());
        self
    }
}

pub(crate) async fn node() -> Node {
    Node::with(|config| config.oci = settings(config.oci.clone())).await
}

pub(crate) fn settings(config: OciConfig) -> OciConfig {
    let registry = bacalhau_images::RegistryConfig { credentials: Credentials::none(), ..config.registry };
    let supervisor = vec![env!("CARGO_BIN_EXE_exec-supervisor").into(), supervisor::ARGUMENT.into()];
    OciConfig { registry, supervisor, ..config }
}

/// The engine of a node's next life.
pub(crate) fn next_life(node: &Node) -> OciEngine {
    OciEngine::new(settings(OciConfig::new(&node.dir.path().join("compute")))).unwrap()
}

/// Checks that nothing of a node's containers is left on the machine.
pub(crate) fn nothing_left(node: &Node) {
    assert_eq!(left(node), None);
}

/// What is left of a node's containers.
pub(crate) fn left(node: &Node) -> Option<String> {
    let folder = node.dir.path().to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if let Some(mount) = mounts.lines().find(|line| line.contains(folder)) {
        return Some(format!("mount {mount}"));
    }
    let lives = std::fs::read_dir(node.dir.path().join("compute/oci")).into_iter().flatten().flatten();
    let mut containers =
        lives.flat_map(|life| std::fs::read_dir(life.path()).into_iter().flatten().flatten());
    if let Some(container) = containers.next() {
        return Some(format!("container {}", container.path().display()));
    }
    if let Some(cgroup) = cgroups(node).into_iter().next() {
        return Some(format!("cgroup {}", cgroup.display()));
    }
    if let Some(file) = node.leftovers().iter().find(|path| !path.to_string_lossy().contains(".log")) {
        return Some(format!("folder {}", file.display()));
    }
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|pid| {
        let command = std::fs::read(pid.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).into_owned())
    });
    let mut ours = processes.filter(|command| command.contains(folder));
    if let Some(command) = ours.next() {
        return Some(format!("process {command}"));
    }
    supervisors(node).first().map(|pid| format!("supervisor {pid}"))
}

/// Numbers of the processes that supervise a node's containers.
pub(crate) fn supervisors(node: &Node) -> Vec<i32> {
    let folder = node.dir.path().to_str().unwrap();
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter(|pid| {
        let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(supervisor::ARGUMENT)
            && std::fs::read_link(pid.path().join("fd/1"))
                .is_ok_and(|path| path.to_string_lossy().contains(folder))
    });
    pids.map(|pid| pid.file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn cgroup_prefix(node: &Node) -> String {
    let hash = sha2::Sha256::digest(node.dir.path().join("compute/oci").as_os_str().as_encoded_bytes());
    hash.iter().take(4).fold("bacalhau-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Cgroups of a node's executions, in all of its lives: folders three levels below the root, or two with v2.
fn cgroups(node: &Node) -> Vec<std::path::PathBuf> {
    let prefix = cgroup_prefix(node);
    let folders = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
    };
    let root = std::path::PathBuf::from("/sys/fs/cgroup");
    let roots = folders(&root).into_iter().chain([root]);
    let ours = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&prefix);
    roots.flat_map(|root| folders(&root)).filter(ours).flat_map(|parent| folders(&parent)).collect()
}

#[tokio::test]
async fn a_runtime_is_found_and_one_that_does_not_work_is_not() {
    if site().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = OciEngine::new(OciConfig::new(dir.path())).unwrap();
    assert!(engine.is_available().await);
    let wrong = OciConfig { runtime: Some("/bin/false".into()), ..OciConfig::new(dir.path()) };
    assert!(!OciEngine::new(wrong).unwrap().is_available().await);
    let missing = OciConfig { runtime: Some("/no/such/runtime".into()), ..OciConfig::new(dir.path()) };
    assert!(!OciEngine::new(missing).unwrap().is_available().await);
    assert!(std::fs::read_dir(dir.path().join("oci")).unwrap().next().is_none());
}
