//! A server on a free port and requests byte by byte, so that nothing between test and server mends them.

use crate::fake::Fake;
use bacalhau_api::server::{Limits, Parts, Running, Server, ServerOptions};
use bacalhau_model::{BuildVersion, NodeInfo, Time};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// ID of the made-up orchestrator.
pub const NODE_ID: &str = "96cea188-6b77-471e-ac10-c2123c213800";

/// The build that was recorded.
pub fn version() -> BuildVersion {
    BuildVersion {
        major: "1".into(),
        minor: "9".into(),
        git_version: "v1.9.3".into(),
        git_commit: "a".repeat(40),
        build_date: Time::from_unix_nanos(0),
        goos: "linux".into(),
        goarch: "amd64".into(),
    }
}

/// An orchestrator's API in front of `fake`.
pub fn parts(fake: &Arc<Fake>) -> Parts {
    Parts {
        credentials: None,
        figures: None,
        backend: Some(Arc::<Fake>::clone(fake)),
        compute: None,
        info: NodeInfo { node_id: NODE_ID.into(), ..NodeInfo::default() },
        version: version(),
        config: json!({"API": {"Port": 1}}),
    }
}

/// Starts a server on a free port of this machine.
pub async fn start(server: Server) -> Running {
    server
        .start(ServerOptions { listen: "127.0.0.1:0".parse().unwrap(), port_may_change: false })
        .await
        .unwrap()
}

/// With the usual limits.
pub async fn serve(fake: Fake) -> (Running, Arc<Fake>) {
    serve_within(fake, Limits::default()).await
}

/// With limits of one's own.
pub async fn serve_within(fake: Fake, limits: Limits) -> (Running, Arc<Fake>) {
    let fake = Arc::new(fake);
    (start(Server::new(parts(&fake)).limits(limits)).await, fake)
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// From the bytes of a whole response.
    pub fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let is_chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_owned() };
        Answer { status, headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The message of the error envelope; checks that it is one.
    pub fn message(&self) -> String {
        let json = self.json();
        assert_eq!(json["Status"], self.status, "{self:?}");
        assert!(json["RequestID"].is_string() && json["Code"].is_string(), "{self:?}");
        json["Message"].as_str().unwrap().to_owned()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Sends bytes and gives everything that comes back until the server closes.
pub async fn raw(server: &Running, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// One request with its own connection. `headers` are whole lines.
pub async fn ask(server: &Running, line: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() {
        String::new()
    } else {
        let kind = if headers.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
        format!("{kind}Content-Length: {}\r\n", body.len())
    };
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}{length}\r\n{body}");
    Answer::parse(&raw(server, request.as_bytes()).await)
}

pub async fn get(server: &Running, path: &str) -> Answer {
    ask(server, &format!("GET {path}"), "", "").await
}

pub async fn put(server: &Running, path: &str, body: &str) -> Answer {
    ask(server, &format!("PUT {path}"), "", body).await
}
