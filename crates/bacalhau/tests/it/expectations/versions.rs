//! Update, versions, executions of a version, rerun, dry run and force.

use super::programs::{END, program};
use super::{job, with_task};
use crate::cluster::{Cluster, UP_FOREVER};
use serde_json::{Value, json};

fn saying(word: &str) -> Value {
    with_task(job("greeting", "batch", 2, &program(&[], END)), "Env", json!({ "WORD": word }))
}

fn is_version(cluster: &Cluster, args: &[&str], version: u64) {
    let executions = cluster.executions("greeting", args);
    assert_eq!(executions.len(), 2, "{args:?}");
    assert!(executions.iter().all(|e| e.job_version == version), "{args:?}");
}

#[test]
fn a_batch_job_is_updated_and_run_again() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    assert_eq!(cluster.run(&saying("first")).0, "Completed");
    is_version(&cluster, &[], 1);

    assert_eq!(cluster.run(&saying("second")).0, "Completed");
    let described = cluster.ok(&["job", "describe", "greeting"]);
    assert!(described.contains("WORD=second") && !described.contains("WORD=first"), "{described}");
    is_version(&cluster, &[], 2);
    for (version, word) in [("1", "first"), ("2", "second")] {
        let shown = cluster.json(&["job", "describe", "greeting", "--version", version]);
        assert_eq!(shown["Job"]["Tasks"][0]["Env"]["WORD"], word);
        assert_eq!(shown["Executions"]["Items"].as_array().unwrap().len(), 2);
        is_version(&cluster, &["--version", version], version.parse().unwrap());
    }
    assert_eq!(cluster.executions("greeting", &["--all-versions"]).len(), 4);
    let versions =
        |cluster: &Cluster| cluster.json(&["job", "versions", "greeting"]).as_array().unwrap().len();
    assert_eq!(versions(&cluster), 2);

    let file = cluster.job_file(&saying("second"));
    let id = cluster.json(&["job", "describe", "greeting"])["Job"]["ID"].as_str().unwrap().to_owned();
    let refused = cluster.refusal(&["job", "run", &file]);
    let text = format!("no changes detected for new job spec. Job Name: 'greeting', Job Id: '{id}'");
    assert!(refused.contains(&text) && refused.contains("--force"), "{refused}");
    cluster.ok(&["job", "run", "--force", &file]);
    is_version(&cluster, &[], 3);

    let third = cluster.job_file(&saying("third"));
    let diff = cluster.ok(&["job", "run", "--dry-run", &third]);
    assert!(diff.contains("second") && diff.contains("third"), "{diff}");
    assert_eq!(versions(&cluster), 3);

    cluster.ok(&["job", "rerun", "greeting"]);
    is_version(&cluster, &[], 4);
    let word = |cluster: &Cluster| {
        cluster.json(&["job", "describe", "greeting"])["Job"]["Tasks"][0]["Env"]["WORD"].clone()
    };
    assert_eq!(word(&cluster), "second");
    cluster.ok(&["job", "rerun", "greeting", "--version", "1"]);
    is_version(&cluster, &[], 5);
    assert_eq!((word(&cluster), versions(&cluster)), (json!("first"), 5));
    let unknown = cluster.refusal(&["job", "rerun", "greeting", "--version", "9"]);
    assert!(unknown.contains("job version 9 not found"), "{unknown}");
}

#[test]
fn a_daemon_is_updated_on_every_node() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    for _ in 0..2 {
        cluster.add_node(&address, &[]);
    }
    cluster.wait_connected(2);
    let mut daemon = job("daemon", "daemon", 0, UP_FOREVER);
    cluster.submit(&daemon);
    cluster.wait_up("daemon", 2);
    daemon["Labels"] = json!({ "changed": "yes" });
    cluster.submit(&daemon);
    cluster.wait_up("daemon", 2);
    for version in [1, 2] {
        let executions = cluster.executions("daemon", &["--version", &version.to_string()]);
        assert_eq!(executions.len(), 2);
        assert!(executions.iter().all(|e| e.job_version == version));
        assert_eq!(executions.iter().filter(|e| e.is_terminal()).count(), if version == 1 { 2 } else { 0 });
    }
    let first = cluster.json(&["job", "describe", "daemon", "--version", "1"]);
    assert_eq!(first["Job"]["Version"], 1);
}
