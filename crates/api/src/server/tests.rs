//! The HTTP surface that needs no cluster; the black-box tests of the binary cover the rest.

use super::*;
use bacalhau_model::version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn server() -> Running {
    let services = Services {
        orchestrator: None,
        compute: None,
        info: NodeInfo { node_id: "n-1".into(), ..NodeInfo::default() },
        version: version::this_build(),
        config: json!({"API": {"Port": 1}}),
    };
    start(ServerOptions { listen: "127.0.0.1:0".parse().unwrap() }, services).await.unwrap()
}

/// Sends raw bytes and gives everything that comes back until the server closes.
async fn raw(server: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn get(server: &Running, path: &str, headers: &str) -> (String, String) {
    let answer =
        raw(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn agent_answers() {
    let server = server().await;
    let (head, body) = get(&server, "/api/v1/agent/alive", "X-Request-ID: abc\r\nOrigin: x\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    for header in [
        "content-type: application/json",
        "x-request-id: abc",
        "x-bacalhau-git-version: v1.9.3",
        "vary: Origin",
        "access-control-allow-origin: *",
    ] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    assert_eq!(body, "{\"Status\":\"OK\"}\n");
    assert_eq!(get(&server, "/api/v1/agent/alive?pretty", "").await.1, "{\n  \"Status\": \"OK\"\n}\n\n");
    assert!(
        get(&server, "/api/v1/agent/version", "")
            .await
            .1
            .starts_with("{\"Major\":\"1\",\"Minor\":\"9\",\"GitVersion\":\"v1.9.3\"")
    );
    assert_eq!(get(&server, "/api/v1/agent/config", "").await.1, "{\"config\":{\"API\":{\"Port\":1}}}\n");
    let (_, node) = get(&server, "/api/v1/agent/node", "").await;
    assert!(node.starts_with("{\"NodeID\":\"n-1\",\"NodeType\":\"Requester\",\"Labels\":{}"), "{node}");
    assert!(node.contains("\"ExecutionEngines\":null") && node.contains("\"address\":\"\""), "{node}");
}

#[tokio::test]
async fn errors_wear_the_envelope() {
    let server = server().await;
    let (head, body) = get(&server, "/api/v1/nothing", "X-Request-ID: abc\r\n").await;
    assert!(head.starts_with("HTTP/1.1 404"));
    assert!(body.starts_with("{\"Status\":404,\"Message\":\"The requested resource/URL was not found.\",\"RequestID\":\"abc\",\"Code\":\"NotFound\",\"Component\":\"APIServer\",\"Hint\":"), "{body}");
    // A wrong method inside the API is an unknown route; outside it is a 405.
    let wrong = raw(
        &server,
        "POST /api/v1/agent/alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(wrong.starts_with("HTTP/1.1 404"), "{wrong}");
    let wrong =
        raw(&server, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(
        wrong.starts_with("HTTP/1.1 405")
            && wrong.contains("allow: OPTIONS, GET")
            && wrong.contains("Method Not Allowed"),
        "{wrong}"
    );
    // Without an orchestrator there are no jobs.
    assert!(get(&server, "/api/v1/orchestrator/jobs", "").await.0.starts_with("HTTP/1.1 404"));
    let (head, _) = get(&server, "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 301") && head.contains("location: /api/v1/agent/alive"), "{head}");
}

#[tokio::test]
async fn the_version_gate() {
    let server = server().await;
    let ask = |version: &'static str| {
        let server = &server;
        async move { get(server, "/api/v1/agent/alive", &format!("X-Bacalhau-Git-Version: {version}\r\n")).await }
    };
    assert!(ask("v1.9.3").await.0.starts_with("HTTP/1.1 200"));
    assert!(ask("v0.0.0-xxxxxxx").await.0.starts_with("HTTP/1.1 200"));
    let (head, body) = ask("v1.3.2").await;
    assert!(head.starts_with("HTTP/1.1 403"));
    assert_eq!(
        body,
        "{\"Error\":\"Client version is outdated. Update your client\",\"MinVersion\":\"1.4.0\",\"ClientVersion\":\"1.3.2\",\"ServerVersion\":\"1.9.3\"}\n"
    );
    assert_eq!(ask("foo").await.1, "{\"Error\":\"Invalid client version foo\"}\n");
}

#[tokio::test]
async fn hostile_requests_harm_nobody() {
    let server = server().await;
    for request in [
        "\r\n\r\n\r\nGARBAGE\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(300_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "b".repeat(600_000)),
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    assert!(get(&server, "/api/v1/agent/alive", "").await.0.starts_with("HTTP/1.1 200"));
    let preflight =
        raw(&server, "OPTIONS /any HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nConnection: close\r\n\r\n").await;
    assert!(
        preflight.starts_with("HTTP/1.1 204")
            && preflight.contains("access-control-allow-methods: GET,HEAD,PUT"),
        "{preflight}"
    );
    server.shutdown().await;
}
