//! Network types, as a task meets them.

use super::{is_root, node, sh};
use bacalhau_model::{NetworkConfig, NetworkType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Reads a page with nothing but a shell that has no network tools: bash knows /dev/tcp.
const GET: &str = r#"get() { # proxy host:port, url
  exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || return 9
  printf 'GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$2" >&3; cat <&3; }
"#;

fn bash(script: &str, network: NetworkConfig) -> crate::support::Case {
    let mut case = sh(&format!("{GET}{script}"));
    case.task.engine = case.task.engine.with("Command", "bash");
    case.task.network = Some(network);
    case
}

fn of(r#type: NetworkType, domains: &[&str]) -> NetworkConfig {
    NetworkConfig { r#type, domains: domains.iter().map(|d| (*d).to_owned()).collect(), ports: Vec::new() }
}

/// Whether this machine lets processes have a network of their own: root always may, others by user namespaces.
async fn can_have_a_network(node: &super::Node) -> bool {
    let probed = node.executor.probe(&bash("true", of(NetworkType::None, &[])).execution()).await;
    match probed {
        Err(error) if !is_root("a network of its own") => {
            eprintln!("SKIPPED: {error}");
            false
        }
        probed => probed.is_ok(),
    }
}

/// A server that says hello and shows what it was asked.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") {
                asked.push(char::from(stream.read_u8().await.unwrap()));
            }
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n{asked}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_hosts_network_is_the_default() {
    let (node, server) = (node().await, server().await);
    for network in [of(NetworkType::Default, &[]), of(NetworkType::Host, &[]), of(NetworkType::Full, &[])] {
        let finished = node.run(bash(&format!("get {server} /"), network).execution()).await.unwrap();
        assert!(finished.run_output.stdout.contains("hello"), "{:?}", finished.run_output);
    }
}

#[tokio::test]
async fn none_means_none() {
    let (node, server) = (node().await, server().await);
    if !can_have_a_network(&node).await {
        return;
    }
    let script = format!(
        "get {server} / 2>/dev/null; echo $?; ls /sys/class/net >/dev/null; cat /proc/net/dev | wc -l"
    );
    let finished = node.run(bash(&script, of(NetworkType::None, &[])).execution()).await.unwrap();
    assert!(!finished.run_output.stdout.contains("hello"), "{:?}", finished.run_output);
    // Two lines of headings and the loopback.
    assert!(finished.run_output.stdout.ends_with("9\n3\n"), "{:?}", finished.run_output);
}

#[tokio::test]
async fn http_leads_to_listed_hosts_only() {
    let (node, server) = (node().await, server().await);
    if !can_have_a_network(&node).await {
        return;
    }
    let script = format!(
        "p=${{http_proxy#http://}}; [ \"$http_proxy\" = \"$HTTPS_PROXY\" ] && get $p http://{server}/page; get $p http://example.com/; get {server} / 2>/dev/null; echo direct $?"
    );
    let case = bash(&script, of(NetworkType::Http, &["127.0.0.1"]));
    let execution = case.execution();
    let job_id = execution.job_id.clone();
    let output = node.run(execution).await.unwrap().run_output.stdout;
    assert!(output.contains("hello\nGET /page HTTP/1.1"), "{output}");
    assert!(
        output.to_lowercase().contains(&format!("x-bacalhau-job-id: {job_id}").to_lowercase()),
        "{output}"
    );
    assert!(output.contains("access to \"example.com\" is not allowed"), "{output}");
    assert!(output.ends_with("direct 9\n"), "{output}");
}

#[tokio::test]
async fn a_bridge_is_refused() {
    let node = node().await;
    let execution = bash("true", of(NetworkType::Bridge, &[])).execution();
    let error = node.executor.probe(&execution).await.unwrap_err();
    assert!(error.message.contains("does not support network type Bridge"), "{error}");
}
