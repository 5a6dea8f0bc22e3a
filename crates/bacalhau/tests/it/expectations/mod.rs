//! What users and tests of Bacalhau 1.9 expect of an orchestrator, line by line; docs/expectations.md is the list.
//! Clusters are few: many lines share one, each with jobs of its own.

mod capacity;
mod membership;
mod outcomes;
mod placing;
mod programs;
mod versions;

use crate::cluster::{Cluster, eventually, wat_input};
use bacalhau_model::{ComputeState, Execution};
use serde_json::{Value, json};

/// A job of one WebAssembly program that asks for little.
fn job(name: &str, r#type: &str, count: i64, module: &str) -> Value {
    json!({
        "Name": name, "Type": r#type, "Count": count,
        "Tasks": [{
            "Name": "main",
            "Engine": { "Type": "wasm", "Params": { "EntryModule": "/m.wasm", "Entrypoint": "_start" } },
            "InputSources": [wat_input(module)],
            "Resources": { "CPU": "100m", "Memory": "16Mb" },
        }],
    })
}

/// Sets a field of the job's task.
fn with_task(mut job: Value, field: &str, value: Value) -> Value {
    job["Tasks"][0][field] = value;
    job
}

/// Adds a requirement on the labels of nodes.
fn on(mut job: Value, key: &str, operator: &str, values: &[&str]) -> Value {
    let requirement = json!({ "Key": key, "Operator": operator, "Values": values });
    match job["Constraints"].as_array_mut() {
        Some(all) => all.push(requirement),
        None => job["Constraints"] = json!([requirement]),
    }
    job
}

impl Cluster {
    fn job_file(&self, job: &Value) -> String {
        self.file(&format!("{}.json", job["Name"].as_str().unwrap()), &job.to_string())
    }

    /// Submits a job and gives its ID.
    fn submit(&self, job: &Value) -> String {
        self.ok(&["job", "run", "--id-only", "--wait=false", &self.job_file(job)]).trim().to_owned()
    }

    /// What a refused command says.
    fn refusal(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(!output.status.success(), "{args:?} was not refused");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Executions of a job's latest version, and more arguments.
    fn executions(&self, job: &str, more: &[&str]) -> Vec<Execution> {
        let args = [&["job", "executions", job, "--limit", "0"], more].concat();
        serde_json::from_value(self.json(&args)).unwrap()
    }

    /// Submits a job, waits for its end and gives its state and executions.
    fn run(&self, job: &Value) -> (String, Vec<Execution>) {
        let id = self.submit(job);
        (self.wait_final(&id), self.executions(&id, &[]))
    }

    /// The message of a job's state.
    fn message(&self, job: &str) -> String {
        self.json(&["job", "describe", job])["Job"]["State"]["Message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until that many executions of the job's latest version run and say so: `up`.
    fn wait_up(&self, job: &str, count: usize) {
        eventually(&format!("{count} executions of {job} are up"), || {
            let live = self.executions(job, &[]).into_iter().filter(|e| !e.is_terminal());
            let is_up = |id: &str| {
                let logs = self.cli(&["job", "logs", job, "--execution-id", id]);
                String::from_utf8_lossy(&logs.stdout).contains("up\n")
            };
            (live.filter(|e| is_up(&e.id)).count() == count).then_some(())
        });
    }
}

/// How many executions are in that state.
fn count(executions: &[Execution], state: ComputeState) -> usize {
    executions.iter().filter(|e| e.compute_state.state_type == state).count()
}

/// The nodes of executions, sorted.
fn nodes(executions: &[Execution]) -> Vec<&str> {
    let mut nodes: Vec<&str> = executions.iter().map(|e| e.node_id.as_str()).collect();
    nodes.sort_unstable();
    nodes
}
