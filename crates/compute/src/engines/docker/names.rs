//! How containers and networks are called and labelled, so that a later life of the node finds them. Pure.

use bacalhau_model::Execution;
use std::collections::HashMap;

/// Label with the ID of the executor.
const EXECUTOR: &str = "bacalhau-executor";
/// Label with the IDs of executor and job.
const JOB: &str = "bacalhau-jobID";
/// Label with the IDs of executor and execution.
const EXECUTION: &str = "bacalhau-executionID";
/// Label with the port of the proxy that a container was told of.
const PROXY_PORT: &str = "bacalhau-proxyPort";

/// Names of what one node creates.
#[derive(Clone, Debug)]
pub(super) struct Names {
    executor: String,
}

impl Names {
    /// For the node with this ID.
    pub(super) fn new(node_id: &str) -> Names {
        Names { executor: format!("bacalhau-{node_id}") }
    }

    /// Name of the container (or, with another `kind`, of another thing) of an execution.
    pub(super) fn object(&self, execution: &Execution, kind: &str) -> String {
        let name = format!("bacalhau-{}-{}-{}-{kind}", self.executor, execution.job_id, execution.id);
        // Docker allows these only; IDs may come from other systems.
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
            .collect()
    }

    /// Labels of everything that belongs to an execution.
    pub(super) fn labels(&self, execution: &Execution) -> HashMap<String, String> {
        HashMap::from([
            (EXECUTOR.to_owned(), self.executor.clone()),
            (JOB.to_owned(), format!("{}{}", self.executor, execution.job_id)),
            (EXECUTION.to_owned(), self.execution_label(&execution.id)),
        ])
    }

    /// Adds what a later life must know of the proxy.
    pub(super) fn note_proxy(labels: &mut HashMap<String, String>, port: u16) {
        labels.insert(PROXY_PORT.to_owned(), port.to_string());
    }

    /// The port that [`Names::note_proxy`] noted.
    pub(super) fn proxy_port(labels: &HashMap<String, String>) -> Option<u16> {
        labels.get(PROXY_PORT)?.parse().ok()
    }

    fn execution_label(&self, execution_id: &str) -> String {
        format!("{}{execution_id}", self.executor)
    }

    /// Filter for everything this node created.
    pub(super) fn all(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{EXECUTOR}={}", self.executor)])])
    }

    /// Filter for what belongs to one execution.
    pub(super) fn of(&self, execution_id: &str) -> HashMap<String, Vec<String>> {
        HashMap::from([(
            "label".to_owned(),
            vec![format!("{EXECUTION}={}", self.execution_label(execution_id))],
        )])
    }

    /// The execution that something with these labels belongs to.
    pub(super) fn execution_of<'a>(&self, labels: &'a HashMap<String, String>) -> Option<&'a str> {
        labels.get(EXECUTION)?.strip_prefix(&self.executor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_bacalhau_has_them() {
        let names = Names::new("n-1");
        let execution = Execution { id: "e-2".into(), job_id: "j-3".into(), ..Execution::default() };
        assert_eq!(names.object(&execution, "executor"), "bacalhau-bacalhau-n-1-j-3-e-2-executor");
        let labels = names.labels(&execution);
        assert_eq!(labels["bacalhau-executor"], "bacalhau-n-1");
        assert_eq!(labels["bacalhau-jobID"], "bacalhau-n-1j-3");
        assert_eq!(labels["bacalhau-executionID"], "bacalhau-n-1e-2");
        assert_eq!(names.execution_of(&labels), Some("e-2"));
        let odd = Names::new("node 1/ü");
        assert_eq!(odd.object(&execution, "x"), "bacalhau-bacalhau-node_1__-j-3-e-2-x");
    }
}
