//! The docker engine with a real Docker daemon, which the tests start themselves.

mod adoption;
mod daemon;
mod faults;
mod images;
mod limits;
mod networks;
mod pulls;
mod registry;
mod scenarios;
mod stopping;

use crate::support::{Case, Node};
use bacalhau_compute::engines::{EngineRequest, Progress};
use bacalhau_compute::executor::WorkFolder;
use bacalhau_compute::logs::{LogLimits, LogStore, LogStream, ReadOptions};
use bacalhau_model::{Execution, NetworkConfig, NetworkType, SpecConfig, Task};
use daemon::Daemon;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A job that runs a script with the shell of the image `busybox`, without a network.
fn sh(script: &str) -> Case {
    docker("busybox").param("Entrypoint", vec!["sh", "-c"]).param("Parameters", vec![script])
}

/// A job with an image, without a network.
fn docker(image: &str) -> Case {
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("docker").with("Image", image),
        network: Some(NetworkConfig { r#type: NetworkType::None, ..NetworkConfig::default() }),
        ..Task::default()
    };
    Case { task, memory: 0, job_type: "batch" }
}

/// A node with an ID of its own that uses this daemon.
async fn node(daemon: &Daemon) -> (Node, String) {
    let id = bacalhau_model::ids::new_execution_id().replace("e-", "n-");
    let (host, node_id) = (daemon.host.clone(), id.clone());
    let node = Node::with(|config| {
        config.docker.host = host;
        config.node_id = node_id;
    })
    .await;
    (node, id)
}

/// A request for the engine itself, for what the executor does not pass on: adoption, ports.
fn request(execution: &Arc<Execution>, folder: &Path, logs: &LogStore) -> EngineRequest {
    let task = execution.job.as_ref().unwrap().task().unwrap();
    EngineRequest {
        engine: task.engine.clone(),
        mounts: Vec::new(),
        results: Vec::new(),
        env: Vec::new(),
        resources: execution.allocated_resources.total(),
        network: task.network(),
        ports: Vec::new(),
        timeout: None,
        adopt: false,
        progress: Progress::new(|_| {}),
        log: logs.open(&execution.id).unwrap(),
        cancel: CancellationToken::new(),
        work: Arc::new(WorkFolder::new(folder.join("work"))),
        execution: Arc::clone(execution),
    }
}

fn logs(folder: &Path) -> LogStore {
    LogStore::new(folder.join("logs"), LogLimits::for_disk(1 << 40))
}

/// What a log has of both streams.
async fn streams(logs: &LogStore, execution_id: &str) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let Some(mut reader) = logs.read(execution_id, ReadOptions::default()).unwrap() else {
        return Default::default();
    };
    while let Some(chunk) = reader.next().await.unwrap() {
        if chunk.stream == LogStream::Stdout { &mut out } else { &mut err }.extend_from_slice(&chunk.bytes);
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}
