//! The `exec` engine with real processes: what they see, what limits them, and that nothing of them survives.
//!
//! Much of it needs root. Where the tests run without, those that do say that they skip.

mod ends;
mod limits;
mod networks;
mod unprivileged;
mod views;

use crate::support::{Case, Node};
use bacalhau_compute::engines::exec::ExecConfig;
use bacalhau_model::{SpecConfig, Task};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings that allow every program.
pub(super) fn config(folder: &Path) -> ExecConfig {
    ExecConfig {
        programs: vec!["/**".into()],
        supervisor: vec![env!("CARGO_BIN_EXE_exec-supervisor").into()],
        grace: Duration::from_secs(60),
        ..ExecConfig::new(folder)
    }
}

/// A node that runs processes.
pub(super) async fn node() -> Node {
    node_with(|_| {}).await
}

pub(super) async fn node_with(change: impl FnOnce(&mut ExecConfig)) -> Node {
    Node::with(|settings| {
        let mut exec = config(&settings.data_folder.join("exec"));
        change(&mut exec);
        settings.exec = Some(exec);
    })
    .await
}

/// A job that runs a shell script.
pub(super) fn sh(script: &str) -> Case {
    let arguments: Vec<serde_json::Value> = vec!["-c".into(), script.into()];
    let engine = SpecConfig::new("exec").with("Command", "/bin/sh").with("Arguments", arguments);
    let task = Task { name: "main".into(), engine, ..Task::default() };
    Case { task, memory: 0, job_type: "batch" }
}

/// Whether the test can go on; says so if not.
pub(crate) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what} needs root");
    }
    root
}

/// A text that no other process has in its arguments.
pub(super) fn marker() -> String {
    format!("bacalhau-test-{}", uuid::Uuid::new_v4())
}

/// Processes with this text in their arguments.
pub(super) fn processes(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| {
        e.file_name().to_str()?.parse::<u32>().ok()?;
        let line = std::fs::read(e.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(marker)).collect()
}

/// Folders of cgroups whose name contains this text.
pub(crate) fn groups(text: &str) -> Vec<PathBuf> {
    fn search(folder: &Path, text: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().contains(text) {
                    found.push(entry.path());
                }
                search(&entry.path(), text, found);
            }
        }
    }
    let mut found = Vec::new();
    search(Path::new("/sys/fs/cgroup"), text, &mut found);
    found
}

/// Nothing of an execution is left but its log.
pub(super) fn assert_nothing_left(node: &Node, id: &str) {
    assert_eq!(groups(id), Vec::<PathBuf>::new());
    let folders: Vec<_> =
        node.leftovers().into_iter().filter(|path| path.extension().is_none_or(|e| e != "log")).collect();
    assert_eq!(folders, Vec::<PathBuf>::new());
    let notes = node.dir.path().join("compute/exec").join(id);
    assert!(!notes.exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(id));
}

/// The files of the only result that was published.
pub(super) fn published(node: &Node) -> BTreeMap<String, Vec<u8>> {
    let folder = node.dir.path().join("compute/results/local-publisher");
    let mut archives = std::fs::read_dir(folder).unwrap();
    let archive = std::fs::File::open(archives.next().unwrap().unwrap().path()).unwrap();
    assert!(archives.next().is_none());
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    files
}
