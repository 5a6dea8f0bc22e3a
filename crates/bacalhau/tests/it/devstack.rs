//! A small cluster in one process, and one node with both roles.

use crate::cluster::{BACALHAU, NOTHING, PATIENCE, eventually, free_port, wat_job};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A child that is ended with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(api: &str, dir: &std::path::Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(BACALHAU)
        .args(args)
        .args(["--api-host", "127.0.0.1", "--api-port", api])
        .env("BACALHAU_DIR", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_devstack_says_how_to_reach_it_runs_jobs_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut devstack = Guard(
        Command::new(BACALHAU)
            .args(["devstack", "--random-ports", "--computes", "2"])
            .env("TMPDIR", root.path())
            .env("BACALHAU_DIR", root.path().join("unused"))
            .env_remove("BACALHAU_API_PORT")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(devstack.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let started = Instant::now();
    assert!(lines.any(|line| line == "Devstack is ready!"), "it ended without being ready");
    assert!(started.elapsed() < PATIENCE);
    let api =
        lines.find_map(|line| line.strip_prefix("export BACALHAU_API_PORT=").map(str::to_owned)).unwrap();
    let dir = root.path().join("client");
    eventually("both compute nodes are connected", || {
        let (_, nodes) = client(&api, &dir, &["node", "list", "--output", "json"]);
        (nodes.matches("\"Connection\":\"CONNECTED\"").count() == 3).then_some(())
    });
    let file = root.path().join("job.yaml");
    std::fs::write(&file, wat_job("hello", NOTHING, "").replace("Type: batch\nCount: 1", "Type: ops"))
        .unwrap();
    let (ok, printed) = client(&api, &dir, &["job", "run", file.to_str().unwrap()]);
    assert!(ok && printed.matches("Completed successfully").count() == 2, "{printed}");

    let pid = devstack.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = eventually("the devstack ended", || devstack.0.try_wait().unwrap());
    assert!(status.success());
    let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("devstack")), "{left:?}");
}

#[test]
fn one_node_with_both_roles_needs_no_address() {
    let root = tempfile::tempdir().unwrap();
    let (api, nats) = (free_port().to_string(), free_port());
    let _server = Guard(
        Command::new(BACALHAU)
            .args(["serve", "--orchestrator", "--compute"])
            .args(["-c", &format!("API.Port={api}"), "-c", &format!("Orchestrator.Port={nats}")])
            .args(["-c", "API.Host=loopback", "-c", "Orchestrator.Host=127.0.0.1"])
            .args(["-c", "Orchestrator.Auth.Token=secret", "-c", "Publishers.Types.Local.Port=0"])
            .env("BACALHAU_DIR", root.path().join("server"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let dir = root.path().join("client");
    eventually("the node has joined itself", || {
        let (_, nodes) = client(&api, &dir, &["node", "list", "--output", "json"]);
        nodes.contains("\"NodeType\":\"Compute\"").then_some(())
    });
    let file = root.path().join("job.yaml");
    std::fs::write(&file, wat_job("hello", NOTHING, "")).unwrap();
    assert!(client(&api, &dir, &["job", "run", file.to_str().unwrap()]).0);
    let (_, config) = client(&api, &dir, &["agent", "config", "--output", "json"]);
    assert!(config.contains("********") && !config.contains("secret"), "{config}");
}
