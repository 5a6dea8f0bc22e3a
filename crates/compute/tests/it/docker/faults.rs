//! Daemons that are not there, hang, die and come back.

use super::daemon::{Daemon, is_installed};
use super::stopping::{has_printed, running};
use super::{docker, node, sh};
use crate::support::{Node, in_time};
use bacalhau_compute::engines::Engine;
use bacalhau_compute::engines::container::Backend;
use bacalhau_compute::engines::docker::{DockerConfig, DockerEngine};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn engine(host: &str) -> DockerEngine {
    DockerEngine::new(DockerConfig { host: host.to_owned(), ..DockerConfig::default() }, "n-faults")
}

#[tokio::test]
async fn without_a_daemon_the_engine_is_not_available_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let host = format!("unix://{}/none.sock", dir.path().display());
    assert!(!engine(&host).is_available().await);
    let node = Node::with(|config| {
        config.docker.host = host.clone();
        config.docker_backend = Backend::Docker;
    })
    .await;
    let error = node.executor.probe(&docker("busybox").execution()).await.unwrap_err();
    assert!(error.retryable && error.message.contains("cannot be reached"), "{error:?}");
    let failure = node.run(docker("busybox").execution()).await.unwrap_err();
    assert!(failure.error.message.contains(&host), "{failure}");
    in_time(engine(&host).clean_up(&BTreeSet::new())).await;
    assert!(!engine("ftp://x").is_available().await);
}

#[tokio::test]
async fn a_daemon_that_hangs_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent.sock");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let engine = engine(&format!("unix://{}", path.display()));
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(!engine.is_available().await);
    }
    // Its first questions have ten seconds; who asks whether it is available does not wait for them.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_daemon_that_comes_later_is_noticed() {
    if !is_installed() {
        return;
    }
    let daemon = Daemon::alone("later", &[]).await;
    let engine = engine(&daemon.host);
    daemon.kill();
    assert!(!engine.is_available().await);
    daemon.start_again().await;
    let noticed = async {
        while !engine.is_available().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    in_time(noticed).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_is_a_clear_error_and_leaves_nothing_when_it_is_back() {
    if !is_installed() {
        return;
    }
    let daemon = Daemon::alone("killed", &[]).await;
    let (node, id) = node(&daemon).await;
    let execution = sh("echo ready; sleep 600").execution();
    let execution_id = execution.id.clone();
    let (_cancel, task) = running(&node, execution).await;
    has_printed(&node, &execution_id).await;
    // Without it the node may serve such jobs itself.
    let is_docker = || {
        let version = node.executor.engine_versions().remove("docker");
        version.is_some_and(|version| version.starts_with("Docker "))
    };
    node.executor.look_at_engines().await;
    assert!(is_docker());
    daemon.kill();
    let failure = in_time(task).await.unwrap().unwrap_err();
    // What was just seen of the daemon counts no more.
    node.executor.look_at_engines().await;
    assert!(!is_docker());
    let message = &failure.error.message;
    assert!(message.starts_with("the Docker daemon went away while the container ran"), "{message}");
    assert!(failure.error.retryable);
    assert_eq!(failure.run_output.unwrap().stdout, "ready\n");

    daemon.start_again().await;
    gone(&daemon, &id).await;
    // And the next one runs.
    assert_eq!(node.run(sh("echo again").execution()).await.unwrap().run_output.stdout, "again\n");
}

#[tokio::test]
async fn a_daemon_that_hangs_cannot_hold_back_the_end_of_an_execution() {
    if !is_installed() {
        return;
    }
    let daemon = Daemon::alone("hangs", &[]).await;
    let (node, id) = node(&daemon).await;
    let execution = sh("echo ready; sleep 600").execution();
    let execution_id = execution.id.clone();
    let (cancel, task) = running(&node, execution).await;
    has_printed(&node, &execution_id).await;
    daemon.signal("STOP");
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    daemon.signal("CONT");
    gone(&daemon, &id).await;
}

/// Waits until nothing of a node is left.
async fn gone(daemon: &Daemon, node_id: &str) {
    let gone = async {
        while !daemon.leftovers(node_id).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    in_time(gone).await;
}

#[tokio::test]
async fn with_live_restore_a_container_outlives_its_daemon() {
    if !is_installed() {
        return;
    }
    let daemon = Daemon::alone("restore", &["--live-restore"]).await;
    let (node, id) = node(&daemon).await;
    let execution = sh("for i in $(seq 1 100); do echo $i; sleep 0.1; done; exit 9").execution();
    let execution_id = execution.id.clone();
    let (_cancel, task) = running(&node, execution).await;
    has_printed(&node, &execution_id).await;
    daemon.kill();
    daemon.start_again().await;
    let finished = in_time(task).await.unwrap().unwrap();
    assert_eq!(finished.run_output.exit_code, 9);
    let (stdout, _) = super::streams(node.executor.logs(), &execution_id).await;
    assert_eq!(stdout, (1..=100).map(|n| format!("{n}\n")).collect::<String>());
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}
