//! Every kind of network.

use super::daemon::shared;
use super::stopping::running;
use super::{docker, node, sh};
use crate::support::{Case, in_time};
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use bacalhau_compute::engines::docker::{DockerConfig, DockerEngine};
use bacalhau_compute::engines::{Engine, EngineError, EngineRequest, Port};
use bacalhau_model::{NetworkConfig, NetworkType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A web server of the host. Tells which job asked.
async fn server(address: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let hello = |headers: HeaderMap| async move {
        let job = headers.get("X-Bacalhau-Job-ID").map_or("-", |id| id.to_str().unwrap()).to_owned();
        format!("hello from the host, {job}")
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(hello))).await });
    address
}

fn on(mut case: Case, kind: NetworkType, domains: &[&str]) -> Case {
    let domains = domains.iter().map(|d| (*d).to_owned()).collect();
    case.task.network = Some(NetworkConfig { r#type: kind, domains, ports: Vec::new() });
    case
}

#[tokio::test]
async fn none_has_nothing_but_its_own_loopback() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let address = server(Ipv4Addr::UNSPECIFIED.into()).await;
    let script = format!("ls /sys/class/net; wget -q -O - http://127.0.0.1:{}/; echo $?", address.port());
    let output = node.run(on(sh(&script), NetworkType::None, &[]).execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "lo\n1\n");
}

#[tokio::test]
async fn default_is_a_bridge_without_ports() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let script = "ls /sys/class/net; grep -c host.docker.internal /etc/hosts";
    let output = node.run(on(sh(script), NetworkType::Default, &[]).execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "eth0\nlo\n0\n");
}

#[tokio::test]
async fn bridge_reaches_the_host_by_name() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let address = server(Ipv4Addr::UNSPECIFIED.into()).await;
    let script = format!("wget -q -O - http://host.docker.internal:{}/", address.port());
    let output = node.run(on(sh(&script), NetworkType::Bridge, &[]).execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "hello from the host, -", "{output:?}");
}

#[tokio::test]
async fn host_and_full_are_the_hosts_own_network() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let address = server(Ipv4Addr::LOCALHOST.into()).await;
    for kind in [NetworkType::Host, NetworkType::Full] {
        let script = format!("wget -q -O - http://127.0.0.1:{}/", address.port());
        let output = node.run(on(sh(&script), kind, &[]).execution()).await.unwrap().run_output;
        assert_eq!(output.stdout, "hello from the host, -", "{output:?}");
    }
}

#[tokio::test]
async fn http_reaches_listed_hosts_only_and_leaves_no_network_behind() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let address = server(Ipv4Addr::LOCALHOST.into()).await;
    let script = format!(
        "wget -q -O - http://{address}/; echo; wget -q -O - http://forbidden.example/; echo $?; \
         nc -w 2 192.0.2.1 80 </dev/null || echo unreachable; \
         echo ${{http_proxy%:*}} $([ $http_proxy = $HTTPS_PROXY ] && echo same); ls /sys/class/net"
    );
    let execution = on(sh(&script), NetworkType::Http, &["127.0.0.1"]).execution();
    let job_id = execution.job_id.clone();
    let output = node.run(execution).await.unwrap().run_output;
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..3], [&format!("hello from the host, {job_id}"), "1", "unreachable"], "{output:?}");
    assert!(lines[3].starts_with("http://10.") && lines[3].ends_with(" same"), "{output:?}");
    assert_eq!(lines[4..], ["eth0", "lo"], "{output:?}");
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());

    let (cancel, task) =
        running(&node, on(sh("sleep 600"), NetworkType::Http, &["a.example"]).execution()).await;
    assert_eq!(daemon.leftovers(&id).await.len(), 2);
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn ports_of_a_bridge_are_reachable_on_the_host() {
    let Some(daemon) = shared().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let port = crate::test_registry::free_port();
    let config = DockerConfig { host: daemon.host.clone(), ..DockerConfig::default() };
    let engine = DockerEngine::new(config, "n-ports");
    let cancel = CancellationToken::new();
    let script = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nserved' | nc -l -p 80; done";
    let case = on(docker("busybox").param("Entrypoint", vec!["sh", "-c", script]), NetworkType::Bridge, &[]);
    let execution = Arc::new(case.execution());
    let request = EngineRequest {
        ports: vec![Port { name: "web".into(), host: port, target: 80, host_address: "127.0.0.1".into() }],
        cancel: cancel.clone(),
        ..super::request(&execution, dir.path(), &super::logs(dir.path()))
    };
    let asked = async {
        loop {
            if let Some(answer) = ask(port).await {
                cancel.cancel();
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (answer, _) = in_time(async { tokio::join!(asked, engine.run(request)) }).await;
    assert!(answer.ends_with("served"), "{answer}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_worth_another_try() {
    let Some(daemon) = shared().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = DockerConfig { host: daemon.host.clone(), ..DockerConfig::default() };
    let host = taken.local_addr().unwrap().port();
    let execution = Arc::new(on(sh("true"), NetworkType::Bridge, &[]).execution());
    let request = EngineRequest {
        ports: vec![Port { name: "web".into(), host, target: 80, host_address: "127.0.0.1".into() }],
        ..super::request(&execution, dir.path(), &super::logs(dir.path()))
    };
    let node_id = format!("n-taken-{host}");
    let ended = in_time(DockerEngine::new(config, &node_id).run(request)).await;
    let Err(EngineError::Failed { error, exit_code: None }) = ended else { panic!("{ended:?}") };
    assert!(error.retryable && error.message.contains("address already in use"), "{error:?}");
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
}

async fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then_some(answer)
}
