//! A real cluster in this process: NATS server, orchestrator, two compute nodes, and the API in front of them.

mod abuse;
mod compare;
mod history;
mod logs;
mod story;
mod tree;

use crate::support::{NODE_ID, get, put, version};
use bacalhau_api::server::{self, Running, ServerOptions, Services};
use bacalhau_compute::core::BidPolicy;
use bacalhau_compute::executor::ExecutorConfig;
use bacalhau_compute::publishers::LocalPublisherConfig;
use bacalhau_compute::{ComputeNode, Way};
use bacalhau_model::defaults::{JobDefaults, TypeDefaults};
use bacalhau_model::{NodeInfo, NodeType, Resources, ResourcesConfig};
use bacalhau_nats_server::Server;
use bacalhau_orchestrator::{Orchestrator, Settings};
use bacalhau_wire::bus_local::LocalBus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The second compute node that was recorded.
const OTHER_NODE_ID: &str = "e39d557f-f22f-4bb7-8342-4709a69ac8a1";
const INSTANCE_ID: &str = "0035969ec53f6e7f0fb40f08cc9ed4783aa99c2000cf1ebe4187c10dd0d8370f";
const HELLO: &str = include_str!("hello.wat");
const JOBS: &str = "/api/v1/orchestrator/jobs";
/// How long anything may take. Generous: machines are shared.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    api: Running,
    computes: Vec<ComputeNode>,
    orchestrator: Orchestrator,
    nats: Server,
    /// Holds `in/hello.wasm` and what the nodes store.
    dir: TempDir,
}

fn labels(name: &str) -> BTreeMap<String, String> {
    [("name", name), ("os_type", "linux"), ("os_arch", "amd64")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn job_defaults() -> JobDefaults {
    let resources =
        ResourcesConfig { cpu: "500m".into(), memory: "512Mb".into(), ..ResourcesConfig::default() };
    let each = TypeDefaults { resources, ..TypeDefaults::default() };
    JobDefaults { batch: each.clone(), ops: each.clone(), service: each.clone(), daemon: each }
}

fn bus(nats: &Server, name: &str) -> Arc<LocalBus> {
    let max_payload = bacalhau_nats_server::Options::default().max_payload;
    Arc::new(LocalBus::new(nats.local_client(name), max_payload).unwrap())
}

async fn start_compute(nats: &Server, name: &str, dir: &Path, input: &str) -> ComputeNode {
    let folder = dir.join(name);
    let options = bacalhau_compute::Options {
        node_id: name.to_owned(),
        labels: labels(name),
        version: version(),
        dir: folder.clone(),
        policy: BidPolicy {
            capacity: Resources { cpu: 1.6, memory: 20_221_208_166, disk: 1 << 37, ..Resources::default() },
            ..BidPolicy::default()
        },
        executor: ExecutorConfig {
            allow_listed_local_paths: vec![format!("{input}:rw")],
            local_publisher: LocalPublisherConfig { port: 0, ..LocalPublisherConfig::default() },
            ..ExecutorConfig::new(folder)
        },
        way: Way::Local(bus(nats, name)),
        heartbeat: Duration::from_secs(1),
        info_update: Duration::from_secs(1),
        address: String::new(),
        leaves_tasks: false,
    };
    bacalhau_compute::start(options).await.unwrap().0
}

impl Cluster {
    /// Starts everything and waits until all nodes are connected.
    async fn start(nodes: &[&str]) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        std::fs::create_dir(&input).unwrap();
        std::fs::write(input.join("hello.wasm"), wat::parse_str(HELLO).unwrap()).unwrap();
        let nats_options =
            bacalhau_nats_server::Options { host: "127.0.0.1".into(), port: 0, ..Default::default() };
        let nats = Server::start(nats_options).unwrap();
        let info = NodeInfo {
            node_id: NODE_ID.to_owned(),
            node_type: NodeType::Requester,
            labels: labels(NODE_ID),
            bacalhau_version: version(),
            ..NodeInfo::default()
        };
        let options = bacalhau_orchestrator::Options {
            dir: dir.path().join("orchestrator"),
            settings: Settings { node_id: NODE_ID.to_owned(), ..Settings::default() },
            job_defaults: job_defaults(),
            info: info.clone(),
            instance_id: INSTANCE_ID.to_owned(),
            max_payload: bacalhau_nats_server::Options::default().max_payload,
            seed: 7,
            events_kept: 0,
            pinner: None,
        };
        let (orchestrator, _) = bacalhau_orchestrator::start(options, bus(&nats, NODE_ID)).await.unwrap();
        let mut computes = Vec::new();
        for name in nodes {
            computes.push(start_compute(&nats, name, dir.path(), input.to_str().unwrap()).await);
        }
        let services = Services {
            credentials: None,
            figures: None,
            orchestrator: Some(orchestrator.clone()),
            compute: computes.first().cloned(),
            info,
            version: version(),
            config: json!({}),
            metrics: true,
        };
        let listen = ServerOptions { listen: "127.0.0.1:0".parse().unwrap(), port_may_change: false };
        let api = server::start(listen, services).await.unwrap();
        let cluster = Cluster { api, computes, orchestrator, nats, dir };
        eventually("all nodes are connected", async || {
            let listed = get(&cluster.api, "/api/v1/orchestrator/nodes?filter-status=connected").await.json();
            // Until then the orchestrator lists itself under the same ID.
            let listed = listed["Nodes"].as_array().unwrap();
            let listed = listed.iter().filter(|n| n["Info"]["NodeType"] == "Compute");
            let found = listed.filter(|n| nodes.iter().any(|id| n["Info"]["NodeID"] == *id));
            (found.count() == nodes.len()).then_some(())
        })
        .await;
        cluster
    }

    /// The folder with the module.
    fn input(&self) -> String {
        self.dir.path().join("in").to_str().unwrap().to_owned()
    }

    /// A job of the module with one argument.
    fn job(&self, name: &str, kind: &str, argument: &str) -> Value {
        json!({"Name": name, "Type": kind, "Count": 1, "Tasks": [{
            "Name": "main",
            "Engine": {"Type": "wasm", "Params": {"EntryModule": "/wasm/hello.wasm", "Parameters": [argument]}},
            "InputSources": [{
                "Source": {"Type": "localDirectory", "Params": {"SourcePath": self.input()}},
                "Target": "/wasm"
            }]
        }]})
    }

    async fn submit(&self, job: Value) -> String {
        let answer = put(&self.api, JOBS, &json!({ "Job": job }).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["JobID"].as_str().unwrap().to_owned()
    }

    /// Waits until the job is in this state.
    async fn until(&self, job: &str, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = get(&self.api, &format!("{JOBS}/{job}?include=history,executions")).await;
            if found.json()["Job"]["State"]["StateType"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "gave up waiting until {job} is {state}: {}", found.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the first execution of the job has this compute state.
    async fn until_execution(&self, job: &str, state: u64) -> String {
        eventually(&format!("an execution of {job} is in state {state}"), async || {
            let all = get(&self.api, &format!("{JOBS}/{job}/executions")).await.json();
            let first = &all["Items"][0];
            (first["ComputeState"]["StateType"] == state).then(|| first["ID"].as_str().unwrap().to_owned())
        })
        .await
    }

    async fn shutdown(self) {
        self.api.shutdown().await;
        self.computes.iter().for_each(ComputeNode::shutdown);
        self.orchestrator.shutdown();
        self.nats.shutdown();
    }
}

/// Asks until there is an answer or patience ends.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
