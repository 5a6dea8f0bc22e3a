//! Plain processes through the whole system: allowed by the operator, checked at submit, and gone with their node.

use crate::cluster::{Cluster, eventually};
use std::path::{Path, PathBuf};

/// A job that runs a shell script.
fn job(name: &str, script: &str, more: &str) -> String {
    format!(
        "Name: {name}\nType: batch\nCount: 1\nTasks:\n  - Name: main\n    Engine:\n      Type: exec\n      Params:\n        \
         Command: sh\n        Arguments:\n          - -c\n          - |\n            {script}\n{more}"
    )
}

/// An orchestrator with a node that runs every program.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let allowed =
        ["-c", "Engines.Types.Exec.Enabled=true", "-c", "Engines.Types.Exec.AllowListedPrograms=/**"];
    cluster.add_node(&address, &allowed);
    cluster.wait_connected(1);
    cluster
}

fn run(cluster: &Cluster, job: &str) {
    let file = cluster.file("job.yaml", job);
    cluster.ok(&["job", "run", &file, "--wait=false"]);
}

/// Processes with this text in their arguments.
fn processes(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| {
        e.file_name().to_str()?.parse::<u32>().ok()?;
        let line = std::fs::read(e.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(marker)).collect()
}

/// Folders of cgroups with this name.
fn groups(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let found = folders.flat_map(|e| {
        let own = (e.file_name() == name).then(|| e.path());
        own.into_iter().chain(groups(&e.path(), name)).collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn a_process_runs_through_the_whole_system() {
    let cluster = cluster();
    run(&cluster, &job("hello", "echo hello $BACALHAU_JOB_TYPE; exit 3", ""));
    assert_eq!(cluster.wait_final("hello"), "Completed");
    let execution = &cluster.json(&["job", "executions", "hello"])[0];
    assert_eq!(execution["RunOutput"]["ExitCode"], 3, "{execution}");
    assert_eq!(cluster.ok(&["job", "logs", "hello"]), "hello batch\n");
    let nodes = cluster.ok(&["node", "list", "--output", "json"]);
    assert!(nodes.contains("\"exec\""), "{nodes}");
}

#[test]
fn a_node_offers_it_only_when_told_to() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    run(&cluster, &job("refused", "true", ""));
    assert_eq!(cluster.wait_final("refused"), "Failed");
    let described = cluster.ok(&["job", "describe", "refused"]);
    assert!(described.contains("does not support exec"), "{described}");
}

#[test]
fn mistakes_are_told_at_submit() {
    let cluster = cluster();
    let wrong = job("wrong", "true", "").replace("Command: sh", "Command: sh -c");
    let file = cluster.file(
        "wrong.yaml",
        &wrong.replace("        Arguments:\n          - -c\n          - |\n            true\n", ""),
    );
    for verb in ["validate", "run"] {
        let output = cluster.cli(&["job", verb, &file]);
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && text.contains("its arguments belong into Arguments"),
            "{verb}: {text}"
        );
    }
}

#[test]
fn nothing_survives_a_node_that_is_killed() {
    let mut cluster = cluster();
    let marker = format!("bacalhau-test-{}", std::process::id());
    let script =
        format!("(setsid sh -c 'sleep 3600; exit # {marker}' &); echo up; sleep 3600; exit # {marker}");
    run(&cluster, &job("long", &script, "").replace("batch", "service"));
    let up = |cluster: &Cluster| {
        eventually("it is up", || {
            let logs = cluster.cli(&["job", "logs", "long"]);
            (String::from_utf8_lossy(&logs.stdout).contains("up") && processes(&marker).len() >= 2)
                .then_some(())
        });
    };
    up(&cluster);
    cluster.nodes[0].kill();
    // Without any further life of the node.
    eventually("all processes are gone", || processes(&marker).is_empty().then_some(()));
    let execution = cluster.json(&["job", "executions", "long"])[0]["ID"].as_str().unwrap().to_owned();
    eventually("its cgroups are gone", || {
        groups(Path::new("/sys/fs/cgroup"), &execution).is_empty().then_some(())
    });
    cluster.nodes[0].start();
    cluster.wait_connected(1);
    up(&cluster);
    cluster.ok(&["job", "stop", "long"]);
    eventually("the stopped task is gone", || processes(&marker).is_empty().then_some(()));
}

#[test]
fn the_supervisor_is_nobodys_command() {
    let output = std::process::Command::new(crate::cluster::BACALHAU)
        .arg("__exec-supervisor")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let help = std::process::Command::new(crate::cluster::BACALHAU).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("supervisor"));
}
