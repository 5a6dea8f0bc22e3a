//! Clients that are slow, huge, greedy or wrong harm nobody.

use crate::fake::{Fake, World};
use crate::support::{Answer, ask, get, put, raw, serve, serve_within};
use bacalhau_api::server::{Limits, Rate};
use bacalhau_model::NodeState;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ALIVE: &str = "/api/v1/agent/alive";
const JOBS: &str = "/api/v1/orchestrator/jobs";

#[tokio::test]
async fn nonsense_is_refused() {
    let (server, _) = serve(Fake::default()).await;
    for (request, status) in [
        ("\r\n\r\n\r\nGARBAGE\r\n\r\n".to_owned(), Some(400)),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), Some(400)),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300_000)), None),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "b".repeat(600_000)), None),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2000)), Some(431)),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned(), Some(400)),
        ("PUT /api/v1/orchestrator/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n".to_owned(), Some(400)),
    ] {
        let answer = raw(&server, request.as_bytes()).await;
        let begin = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
        if let Some(status) = status {
            assert!(begin.contains(&format!("HTTP/1.1 {status}")), "{begin}: {}", &request[..request.len().min(60)]);
        }
    }
    assert_eq!(get(&server, ALIVE).await.status, 200);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let (server, fake) = serve(Fake::default()).await;
    let head = |length: &str| {
        format!("PUT {JOBS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n")
    };
    // Refused by what it says of its length, before a byte of it is there.
    let declared = Answer::parse(&raw(&server, head("Content-Length: 10000001").as_bytes()).await);
    assert_eq!((declared.status, declared.message().as_str()), (413, "Request Entity Too Large"));
    assert_eq!(declared.header("connection"), Some("close"));
    let mut chunked = head("Transfer-Encoding: chunked\r\nConnection: close").into_bytes();
    chunked.extend(b"989681\r\n");
    chunked.extend(vec![b' '; 10_000_001]);
    chunked.extend(b"\r\n0\r\n\r\n");
    // The server may close before all of it is sent; then there may be no answer to read.
    let answer = raw(&server, &chunked).await;
    assert!(answer.is_empty() || Answer::parse(&answer).status == 413);
    let fits = format!("{{\"Job\":{{\"Name\":\"{}\"}}}}", "n".repeat(9_999_000));
    assert_eq!(put(&server, JOBS, &fits).await.status, 200);
    assert_eq!(fake.world().seen.len(), 1);
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let limits = Limits { all_bodies: 4096, ..Limits::default() };
    let (server, _) = serve_within(Fake::default(), limits).await;
    let small = "{\"Job\":{}}";
    assert_eq!(put(&server, JOBS, small).await.status, 200);
    let answer = put(&server, JOBS, &format!("{small}{}", " ".repeat(8192))).await;
    assert_eq!((answer.status, answer.message().as_str()), (503, "too many large requests at the same time"));
    assert_eq!(put(&server, JOBS, small).await.status, 200);
}

#[tokio::test]
async fn slow_clients_are_left() {
    let moment = Duration::from_millis(100);
    let limits = Limits { head_time: moment, request_time: moment, ..Limits::default() };
    let (server, _) = serve_within(Fake::default(), limits).await;
    // Half a head: the connection ends.
    let answer = raw(&server, b"GET / HTTP/1.1\r\nHost:").await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
    // Half a body: a JSON 503, also for those who claim to be a websocket.
    for extra in ["", "Upgrade: websocket\r\n"] {
        let request = format!(
            "PUT {JOBS} HTTP/1.1\r\nHost: x\r\n{extra}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
        );
        let answer = Answer::parse(&raw(&server, request.as_bytes()).await);
        assert_eq!((answer.status, answer.message().as_str()), (503, "Server Timeout!"));
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let (server, _) = serve_within(Fake::default(), Limits { connections: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    first.write_all(format!("GET {ALIVE} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    let second = get(&server, ALIVE);
    drop(first);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_client() {
    let strict = Rate { per_second: 1, burst: 2, loopback: true };
    let (server, _) = serve_within(Fake::default(), Limits { rate: Some(strict), ..Limits::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        // A made-up origin buys nothing.
        let header = format!("X-Forwarded-For: 10.0.0.{}\r\n", statuses.len());
        let answer = ask(&server, &format!("GET {ALIVE}"), &header, "").await;
        if answer.status == 429 {
            assert_eq!(answer.message(), "rate limit exceeded");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_panic_is_the_error_of_one_request() {
    let mut node = NodeState::default();
    node.info.node_id = "panic".into();
    let (server, _) = serve(Fake::new(World { nodes: vec![node], ..World::default() })).await;
    for path in ["/api/v1/orchestrator/nodes", "/api/v1/orchestrator/jobs/panic"] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.message().as_str()), (500, "Internal server error"), "{path}");
        assert_eq!(answer.json()["Component"], "Unknown");
    }
    assert_eq!(get(&server, ALIVE).await.status, 200);
}

#[tokio::test]
async fn the_end_waits_for_open_requests() {
    let (server, _) = serve(Fake::default()).await;
    let addr = server.addr;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(format!("GET {ALIVE} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'H');
    server.shutdown().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("{\"Status\":\"OK\"}"));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let (server, _) = serve(Fake::default()).await;
    let other =
        bacalhau_api::server::Server::new(crate::support::parts(&std::sync::Arc::new(Fake::default())));
    let error = match other
        .start(bacalhau_api::server::ServerOptions { listen: server.addr, port_may_change: false })
        .await
    {
        Ok(_) => panic!("two servers on one port"),
        Err(error) => error,
    };
    assert_eq!((error.code.as_ref(), error.component.as_ref()), ("ConfigurationError", "APIServer"));
    assert!(error.message.contains("already in use") && error.hint.contains("API.Port"), "{error:?}");

    let third =
        bacalhau_api::server::Server::new(crate::support::parts(&std::sync::Arc::new(Fake::default())));
    let options = bacalhau_api::server::ServerOptions { listen: server.addr, port_may_change: true };
    let third = third.start(options).await.unwrap();
    assert_eq!(third.addr.ip(), server.addr.ip());
    assert_ne!(third.addr.port(), server.addr.port());
}
