//! Networks of containers.

use super::{node, nothing_left, site};
use crate::support::{Case, in_time};
use bacalhau_compute::engines::{Engine, EngineRequest, Port, Progress};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A web server on the loopback or on all addresses, which says the path.
pub(super) async fn web_server(address: &str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let bound = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved")
                    .await;
            });
        }
    });
    bound
}

/// Asks a web server with what every busybox has. (Its `wget` looks names up, which programs that are linked like this
/// one cannot.)
pub(super) fn get(host: &str, port: &str) -> String {
    format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 {host} {port}")
}

pub(super) fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !crate::test_registry::is_installed(program));
    if let Some(program) = missing {
        eprintln!("SKIPPED: {program} is not installed");
    }
    missing.is_none()
}

#[tokio::test]
async fn none_and_host() {
    let Some(site) = site() else { return };
    let node = node().await;
    let server = web_server("127.0.0.1").await;
    let ask = get(&server.ip().to_string(), &server.port().to_string());
    let script = format!("ip -o link | wc -l; ip addr show lo | grep -c 127.0.0.1; {ask}");
    let output = node.run(site.script(&script).network_type("None").execution()).await.unwrap().run_output;
    assert!(output.stdout.starts_with("1\n1\n") && output.exit_code != 0, "{output:?}");
    let output = node.run(site.script(&script).network_type("Host").execution()).await.unwrap().run_output;
    assert!(output.stdout.ends_with("served"), "{output:?}");
    nothing_left(&node);
}

#[tokio::test]
async fn bridge_and_default_reach_the_host_and_more() {
    let Some(site) = site().filter(|_| has(&["ip", "iptables"])) else { return };
    let node = node().await;
    let server = web_server("0.0.0.0").await;
    for kind in ["Bridge", "Default"] {
        let script = format!(
            "host=$(grep host.docker.internal /etc/hosts | cut -f 1); {}; ip route | head -1; ip -o -4 addr show eth0",
            get("$host", &server.port().to_string())
        );
        let output = node.run(site.script(&script).network_type(kind).execution()).await.unwrap().run_output;
        assert!(output.stdout.contains("serveddefault via 10.201."), "{output:?}");
    }
    let rules = std::process::Command::new("iptables-save").output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&rules).contains(&super::cgroup_prefix(&node)), "rules are left");
    nothing_left(&node);
}

#[tokio::test]
async fn ports_lead_in() {
    let Some(site) = site().filter(|_| has(&["ip", "iptables"])) else { return };
    let node = node().await;
    let execution = Arc::new(site.script("echo hello | nc -l -p 80").network_type("Bridge").execution());
    let host = crate::test_registry::free_port();
    let port = Port { name: "web".into(), host, target: 80, host_address: "127.0.0.1".into() };
    let engine = super::next_life(&node);
    let (request, cancel) = request(&node, &execution, vec![port]);
    let run = tokio::spawn(async move { engine.run(request).await });
    let heard = in_time(heard(host)).await;
    assert_eq!(heard, "hello\n");
    cancel.cancel();
    let _ = in_time(run).await.unwrap();
    assert!(std::net::TcpListener::bind(("127.0.0.1", host)).is_ok(), "the port is still open");
}

/// What somebody says who listens on a port, sooner or later.
pub(super) async fn heard(port: u16) -> String {
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await
            && stream.read_to_string(&mut text).await.is_ok()
            && !text.is_empty()
        {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// What the executor would ask an engine.
pub(super) fn request(
    node: &crate::support::Node,
    execution: &Arc<bacalhau_model::Execution>,
    ports: Vec<Port>,
) -> (EngineRequest, tokio_util::sync::CancellationToken) {
    let task = execution.job.as_ref().unwrap().task().unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    let request = EngineRequest {
        execution: Arc::clone(execution),
        engine: task.engine.clone(),
        mounts: Vec::new(),
        results: Vec::new(),
        env: Vec::new(),
        resources: bacalhau_model::Resources::default(),
        network: task.network(),
        ports,
        timeout: None,
        adopt: false,
        progress: Progress::new(|_| {}),
        log: node.executor.logs().open(&execution.id).unwrap(),
        cancel: cancel.clone(),
        work: Arc::new(bacalhau_compute::executor::WorkFolder::new(
            node.dir.path().join("compute/executions").join(&execution.id),
        )),
    };
    (request, cancel)
}

pub(super) fn http(case: Case, domains: &[&str]) -> Case {
    let mut case = case;
    case.task.network = Some(serde_json::from_value(json!({"Type": "HTTP", "Domains": domains})).unwrap());
    case
}

#[tokio::test]
async fn http_has_no_way_out_but_the_proxy() {
    let Some(site) = site() else { return };
    let node = node().await;
    let server = web_server("127.0.0.1").await;
    // Without the proxy nothing is reachable; the proxy is, and says no to what is not listed.
    let script = format!(
        "ip -o link | wc -l; echo proxy $http_proxy; {} || echo no direct way; \
         wget -O - http://not.listed.example/ 2>&1 | grep -o '403' | head -1",
        get(&server.ip().to_string(), &server.port().to_string())
    );
    let output =
        node.run(http(site.script(&script), &["listed.example"]).execution()).await.unwrap().run_output;
    assert!(output.stdout.contains("1\nproxy http://127.0.0.1:"), "{output:?}");
    assert!(output.stdout.contains("no direct way") && output.stdout.ends_with("403\n"), "{output:?}");
    let refused = node.executor.probe(&http(site.script("true"), &[]).execution()).await.unwrap_err();
    assert!(refused.message.contains("at least one domain"), "{}", refused.message);
    nothing_left(&node);
}
