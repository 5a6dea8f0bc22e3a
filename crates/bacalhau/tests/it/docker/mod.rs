//! Containers of real Docker daemons, as users run them with the real binary.

mod adoption;
#[path = "../../../../compute/tests/it/docker/daemon.rs"]
#[allow(dead_code)] // shared with another crate
mod daemon;
mod faults;
#[path = "../../../../compute/tests/it/docker/images.rs"]
#[allow(dead_code)] // shared with another crate
mod images;
mod logs;
mod networks;
mod runs;
mod web;

use crate::cluster::{Cluster, eventually, free_port, request};
use daemon::Daemon;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

/// A cluster of one node that runs containers under a Docker daemon.
struct Setup<D> {
    // The node goes before its daemon.
    cluster: Cluster,
    daemon: D,
    /// The node's name.
    node: String,
    /// The port of the node's own API.
    api_port: u16,
}

/// With the daemon that tests share. `None`, said aloud, where Docker is not installed.
fn shared(name: &str, settings: &[&str]) -> Option<Setup<daemon::Shared>> {
    shared_with(name, settings, Vec::new())
}

/// The same with variables for the node.
fn shared_with(name: &str, settings: &[&str], env: Vec<(String, String)>) -> Option<Setup<daemon::Shared>> {
    let daemon = runtime().block_on(daemon::shared())?;
    Some(Setup::new(daemon, name, settings, env))
}

/// With a daemon of its own, without networks. `None`, said aloud, where Docker is not installed.
fn alone(name: &str, options: &[&str]) -> Option<Setup<Box<Daemon>>> {
    alone_with(name, options, &[])
}

/// The same with settings: those that begin with `Orchestrator.` are the orchestrator's.
fn alone_with(name: &str, options: &[&str], settings: &[&str]) -> Option<Setup<Box<Daemon>>> {
    if !daemon::is_installed() {
        return None;
    }
    let daemon = Box::new(runtime().block_on(Daemon::alone(name, options)));
    Some(Setup::new(daemon, name, settings, Vec::new()))
}

/// What talks to the daemons, whichever test asks.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

impl<D: Deref<Target = Daemon>> Setup<D> {
    fn new(daemon: D, name: &str, settings: &[&str], mut env: Vec<(String, String)>) -> Setup<D> {
        // Images are made here; nobody has to be asked which one a tag stands for.
        let mut orchestrator =
            vec!["Orchestrator.NodeManager.ReconnectGrace=60s", "Orchestrator.PinImages.Disabled=true"];
        let is_its = |setting: &&&str| setting.starts_with("Orchestrator.");
        orchestrator.extend(settings.iter().filter(is_its));
        let mut cluster = Cluster::new("", &orchestrator);
        let (address, node) = (cluster.nats(), format!("docker-{name}"));
        env.push(("DOCKER_HOST".to_owned(), daemon.host.clone()));
        let nodes = settings.iter().filter(|setting| !is_its(setting));
        let settings = ["Engines.Types.Docker.Backend=docker"].iter().chain(nodes);
        let args: Vec<&str> = settings.flat_map(|setting| ["-c", *setting]).collect();
        let api_port = free_port();
        cluster.add_named_node(&node, &address, api_port, &args, env);
        cluster.wait_connected(1);
        let setup = Setup { cluster, daemon, node, api_port };
        // On a busy machine its first look at the daemon may have been in vain.
        eventually("docker is offered", || setup.engines().contains("docker").then_some(()));
        setup
    }

    /// What the node has in its daemon: names of containers and networks.
    fn leftovers(&self) -> Vec<String> {
        runtime().block_on(self.daemon.leftovers(&self.node))
    }

    /// Waits until the daemon has nothing of the node any more, nor the node a folder of an execution.
    fn nothing_is_left(&self) {
        eventually("nothing is left in Docker", || self.leftovers().is_empty().then_some(()));
        let folder = self.cluster.nodes[0].dir.join("compute/executions");
        eventually("no folder is left", || {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            (entries.filter(|entry| entry.path().is_dir()).count() == 0).then_some(())
        });
    }

    fn submit(&self, job: &Value) {
        let name = job["Name"].as_str().unwrap();
        let file = self.cluster.file(&format!("{name}.json"), &job.to_string());
        self.cluster.ok(&["job", "run", &file, "--wait=false"]);
    }

    fn executions(&self, job: &str) -> Vec<Value> {
        self.cluster.json(&["job", "executions", job]).as_array().cloned().unwrap_or_default()
    }

    /// What its only execution printed and its code, after it has ended.
    fn output(&self, job: &str) -> Value {
        let executions = self.executions(job);
        assert_eq!(executions.len(), 1, "{executions:?}");
        executions[0]["RunOutput"].clone()
    }

    fn history(&self, job: &str) -> String {
        self.cluster.ok(&["job", "history", job])
    }

    /// Standard output of a job's log, line by line. Nothing while its node is away.
    fn lines(&self, job: &str) -> Vec<String> {
        let printed = self.cluster.cli(&["job", "logs", job]).stdout;
        String::from_utf8_lossy(&printed).lines().map(str::to_owned).collect()
    }

    /// Waits until the log has more than this many lines; gives all of them.
    fn more_lines(&self, job: &str, than: usize) -> Vec<String> {
        eventually("there are more lines", || Some(self.lines(job)).filter(|all| all.len() > than))
    }

    /// Waits until the job has an execution, only one, in this state (by its number on the wire).
    fn is_in_state(&self, job: &str, state: u64) {
        eventually(&format!("{job} is in state {state}"), || {
            let all = self.executions(job);
            (all.len() == 1 && all[0]["ComputeState"]["StateType"] == state).then_some(())
        });
    }

    /// Waits until the node has nothing to do.
    fn is_idle(&self) {
        eventually("the node is idle", || {
            let answer = request(self.api_port, "GET", "/api/v1/agent/node", "").ok()?;
            let info: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            let info = &info["ComputeNodeInfo"];
            let amount = |name: &str| info[name].as_u64().unwrap_or(0);
            (amount("RunningExecutions") == 0 && amount("EnqueuedExecutions") == 0).then_some(())
        });
    }

    /// Engines that the orchestrator believes the node to have.
    fn engines(&self) -> String {
        self.cluster.json(&["node", "describe", &self.node])["Info"]["ComputeNodeInfo"]["ExecutionEngines"]
            .to_string()
    }
}

/// A job that runs a script with the shell of the image `busybox`, without a network.
fn job(name: &str, kind: &str, script: &str) -> Value {
    json!({"Name": name, "Type": kind, "Count": 1, "Tasks": [{
        "Name": "main",
        "Engine": {"Type": "docker",
            "Params": {"Image": "busybox", "Entrypoint": ["sh", "-c"], "Parameters": [script]}},
        "Network": {"Type": "None"},
        "Resources": {"CPU": "100m", "Memory": "64Mb"},
    }]})
}

/// The same with another field of its task.
fn with(mut job: Value, field: &str, value: Value) -> Value {
    job["Tasks"][0][field] = value;
    job
}

/// Prints a numbered line every tenth of a second, for ever.
const NUMBERS: &str = "n=0; while true; do echo line $n; n=$((n+1)); sleep 0.1; done";

/// Each line of [`NUMBERS`] once, in order.
fn are_numbers(lines: &[String]) {
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line, &format!("line {number}"), "in {lines:?}");
    }
}
