//! The environment of a task: what the job sets, what it takes from the node, and what the system adds.

use crate::engines::Port;
use bacalhau_model::{Error, Execution, Job, Task, error::code};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeMap;

/// Marks a value that is the name of one of the node's variables.
const FROM_NODE: &str = "env:";

/// Names of the node's variables that jobs may read: globs over the whole name.
#[derive(Clone, Debug, Default)]
pub(super) struct EnvAllowList {
    patterns: GlobSet,
}

impl EnvAllowList {
    /// Reads the globs; the error names the first that is none.
    pub(super) fn new(patterns: &[String]) -> Result<EnvAllowList, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns.iter().map(|p| p.trim()).filter(|p| !p.is_empty()) {
            set.add(
                GlobBuilder::new(pattern).build().map_err(|e| format!("'{pattern}' is no pattern: {e}"))?,
            );
        }
        Ok(EnvAllowList { patterns: set.build().map_err(|e| e.to_string())? })
    }

    /// Checks that everything the task takes from the node is allowed; not that it is there.
    pub(super) fn check(&self, task: &Task) -> Result<(), Error> {
        for name in task.env.values().filter_map(|value| value.strip_prefix(FROM_NODE)) {
            if !self.patterns.is_match(name) {
                let message = format!("environment variable '{name}' is not in allowed patterns");
                return Err(Error::new(code::FORBIDDEN, message)
                    .component("EnvResolver")
                    .hint("The node's Compute.Env.AllowList says which of its variables jobs may read"));
            }
        }
        Ok(())
    }

    /// All variables of the task but those of its ports. Those of the system win over the task's.
    pub(super) fn resolve(&self, execution: &Execution, task: &Task) -> Result<Vec<(String, String)>, Error> {
        self.check(task)?;
        let mut env = BTreeMap::new();
        for (key, value) in &task.env {
            let value = match value.strip_prefix(FROM_NODE) {
                Some(name) => std::env::var(name).map_err(|_| missing(name))?,
                None => value.clone(),
            };
            if key.contains(['=', '\0']) || value.contains('\0') {
                let message =
                    format!("environment variable '{key}' has a name or value no program can receive");
                return Err(Error::new(code::BAD_REQUEST, message).component("EnvResolver"));
            }
            env.insert(key.clone(), value);
        }
        if let Some(job) = &execution.job {
            env.extend(system_variables(execution, job));
        }
        Ok(env.into_iter().collect())
    }
}

fn missing(name: &str) -> Error {
    Error::new(code::NOT_FOUND, format!("required environment variable '{name}' not found"))
        .component("EnvResolver")
        .hint("Set the variable on the compute node, or correct the name in the task's Env")
}

fn system_variables(execution: &Execution, job: &Job) -> Vec<(String, String)> {
    let mut variables = vec![
        ("BACALHAU_EXECUTION_ID".to_owned(), execution.id.clone()),
        ("BACALHAU_JOB_ID".to_owned(), execution.job_id.clone()),
        ("BACALHAU_JOB_TYPE".to_owned(), job.r#type.clone()),
        ("BACALHAU_PARTITION_INDEX".to_owned(), execution.partition_index.to_string()),
        // A job that runs on all nodes has no count: each execution is a whole.
        ("BACALHAU_PARTITION_COUNT".to_owned(), job.count.max(1).to_string()),
    ];
    if execution.attempt > 0 {
        variables.push(("BACALHAU_ATTEMPT".to_owned(), execution.attempt.to_string()));
    }
    variables
}

/// Tells a task about its ports: `BACALHAU_HOST_PORT_<name>` and, inside of its network, `BACALHAU_PORT_<name>`.
pub(super) fn add_ports(env: &mut Vec<(String, String)>, ports: &[Port]) {
    for port in ports {
        for (prefix, number) in [("BACALHAU_HOST_PORT", port.host), ("BACALHAU_PORT", port.target)] {
            let name = format!("{prefix}_{}", port.name);
            env.retain(|(key, _)| *key != name);
            env.push((name, number.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn task(env: &[(&str, &str)]) -> Task {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Task { env, ..Task::default() }
    }

    #[test]
    fn patterns_match_whole_names() {
        let list = EnvAllowList::new(&["AWS_*".into(), "HOME".into()]).unwrap();
        list.check(&task(&[("A", "env:AWS_KEY"), ("B", "env:HOME"), ("C", "file:x"), ("D", "text")]))
            .unwrap();
        for name in ["XAWS_KEY", "HOMES", "AHOME", ""] {
            let error = list.check(&task(&[("A", &format!("env:{name}"))])).unwrap_err();
            assert_eq!(error.message, format!("environment variable '{name}' is not in allowed patterns"));
        }
        assert!(EnvAllowList::new(&["[".into()]).is_err());
    }

    #[test]
    fn ports_win_too() {
        let mut env =
            vec![("A".to_owned(), "1".to_owned()), ("BACALHAU_PORT_http".to_owned(), "mine".to_owned())];
        add_ports(
            &mut env,
            &[Port { name: "http".into(), host: 20001, target: 80, host_address: String::new() }],
        );
        let expected = [("A", "1"), ("BACALHAU_HOST_PORT_http", "20001"), ("BACALHAU_PORT_http", "80")];
        assert_eq!(env, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn system_variables_win() {
        let job = Job { r#type: "batch".into(), count: 3, ..Job::default() };
        let execution = Execution {
            id: "e-1".into(),
            job_id: "j-1".into(),
            partition_index: 2,
            job: Some(Arc::new(job)),
            ..Execution::default()
        };
        let list = EnvAllowList::new(&["PATH".into(), "NOT_SET_*".into()]).unwrap();
        let env = list.resolve(&execution, &task(&[("BACALHAU_JOB_ID", "mine"), ("P", "env:PATH")])).unwrap();
        let get = |key: &str| env.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        assert_eq!(get("BACALHAU_JOB_ID"), Some("j-1"));
        assert_eq!(get("BACALHAU_PARTITION_INDEX"), Some("2"));
        assert_eq!(get("BACALHAU_PARTITION_COUNT"), Some("3"));
        assert_eq!(get("P").map(str::to_owned), std::env::var("PATH").ok());

        let error = list.resolve(&execution, &task(&[("X", "env:NOT_SET_HERE")])).unwrap_err();
        assert_eq!(error.message, "required environment variable 'NOT_SET_HERE' not found");
    }
}
