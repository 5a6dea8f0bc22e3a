//! Requests to and responses of a running Bacalhau 1.9, and a world in which they make sense.

use crate::fake::World;
use crate::support::Answer;
use bacalhau_model::{Error, Job, JobState, lenient};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// One exchange.
pub struct Recording {
    pub name: String,
    pub request: Vec<u8>,
    pub answer: Answer,
}

impl Recording {
    fn parse(name: String, bytes: &[u8]) -> Recording {
        let mark = b"\n\n--- response ---\n";
        let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
        let answer = Answer::parse(&bytes[at + mark.len()..]);
        Recording { name, request: bytes[..at].to_vec(), answer }
    }

    /// `/api/v1/...`, without the query.
    pub fn path(&self) -> String {
        let text = String::from_utf8_lossy(&self.request);
        text.split([' ', '?']).nth(1).unwrap().to_owned()
    }

    /// What the cluster must hold so that it would answer so.
    pub fn world(&self) -> World {
        let mut world = World::default();
        let Ok(body) = serde_json::from_str::<Value>(&self.answer.body) else { return world };
        if self.answer.status >= 400 {
            world.error = error_of(&body);
            return world;
        }
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        world.evaluation_id = text("EvaluationID");
        world.job_id = text("JobID");
        world.diff = text("Diff");
        world.job_version = body["JobVersion"].as_u64().unwrap_or_default();
        world.warnings = list(&body["Warnings"]);
        world.nodes = list(&body["Nodes"]);
        world.nodes.extend(one(&body["Node"]));
        world.jobs.extend(one(&body["Job"]));
        for items in [&body["Items"], &body["History"]["Items"], &body["Executions"]["Items"]] {
            let first = &items[0];
            match () {
                () if first.get("SeqNum").is_some() => world.history.extend(list(items)),
                () if first.get("ComputeState").is_some() => world.executions.extend(list(items)),
                () if first.get("Tasks").is_some() => world.jobs.extend(list(items)),
                () => world.results.extend(list(items)),
            }
        }
        if world.jobs.is_empty() {
            world.jobs.push(self.job_of_path(&body));
        }
        world
    }

    /// The job that the answer does not show. A token means that it is not at its end.
    fn job_of_path(&self, body: &Value) -> Job {
        let id = self.path().split('/').nth(5).unwrap_or_default().to_owned();
        let mut job = Job { id, r#type: "batch".into(), namespace: "default".into(), ..Job::default() };
        job.version = body["Items"][0]["JobVersion"].as_u64().unwrap_or(1);
        job.state.state_type = match body["NextToken"].as_str() {
            Some("") => JobState::Completed,
            _ => JobState::Running,
        };
        job
    }
}

fn one<T: DeserializeOwned>(value: &Value) -> Option<T> {
    value.is_object().then(|| lenient::from_value(value.clone()).unwrap())
}

fn list<T: DeserializeOwned>(value: &Value) -> Vec<T> {
    lenient::from_value(value.clone()).unwrap()
}

/// Errors that came from behind the API.
fn error_of(body: &Value) -> Option<Error> {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let behind = ["JobStore", "NodesManager", "Bacalhau"].contains(&text("Component").as_str());
    behind.then(|| {
        let status = u16::try_from(body["Status"].as_u64().unwrap()).unwrap();
        Error::new(text("Code"), text("Message"))
            .component(text("Component"))
            .hint(text("Hint"))
            .status(status)
    })
}

/// All of them, by name.
pub fn all() -> Vec<Recording> {
    // Relative, because a target folder may be shared by checkouts: Cargo runs tests in the folder of their package.
    let folder = Path::new("tests/golden");
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Recording::parse(name, &std::fs::read(path).unwrap())
        })
        .collect()
}
