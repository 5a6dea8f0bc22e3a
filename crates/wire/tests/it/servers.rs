//! NATS servers for tests: the embedded one and, if `NATS_SERVER_BIN` is set, the original.

#[path = "../support/ports.rs"]
mod ports;

use bacalhau_nats_server::{Options, Server};
use bacalhau_wire::address::{Credentials, parse_addresses};
use bacalhau_wire::bus::Bus;
use bacalhau_wire::bus_local::LocalBus;
use bacalhau_wire::connect::{ConnectOptions, Connected, Connector};
use bacalhau_wire::headers::Headers;
pub(crate) use ports::free_port;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing here may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Original,
}

/// The kinds that can be tried here. Says aloud what is skipped.
pub(crate) fn kinds() -> Vec<Kind> {
    if std::env::var_os("NATS_SERVER_BIN").is_some() {
        return vec![Kind::Embedded, Kind::Original];
    }
    eprintln!("SKIPPED: the original NATS server; set NATS_SERVER_BIN to the path of its binary");
    vec![Kind::Embedded]
}

enum Program {
    Embedded(Server),
    Original(Child),
}

/// A running server; ends when it is dropped.
pub(crate) struct TestServer {
    pub(crate) addr: SocketAddr,
    /// Where the original listens for the other servers of its cluster.
    cluster: u16,
    program: Program,
}

/// The original's binary, silent.
fn original() -> Command {
    let mut command = Command::new(std::env::var_os("NATS_SERVER_BIN").unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a server says first.
fn greeting(addr: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(addr).ok()?;
    let mut info = String::new();
    BufReader::new(stream).read_line(&mut info).ok()?;
    info.starts_with("INFO").then_some(info)
}

impl TestServer {
    /// On a free port, with a token, announcing nothing.
    pub(crate) fn start(kind: Kind, token: &str) -> TestServer {
        TestServer::start_at(kind, free_port(), token, None)
    }

    /// On a given port; `announce` is told to clients as another address. The original does that with the members
    /// of its cluster.
    pub(crate) fn start_at(kind: Kind, port: u16, token: &str, announce: Option<&TestServer>) -> TestServer {
        let cluster = free_port();
        let program = match kind {
            Kind::Embedded => Program::Embedded(
                Server::start(Options {
                    host: "127.0.0.1".into(),
                    port,
                    token: (!token.is_empty()).then(|| token.to_owned()),
                    connect_urls: announce.iter().map(|other| other.addr.to_string()).collect(),
                    ..Options::default()
                })
                .unwrap(),
            ),
            Kind::Original => {
                let mut command = original();
                command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--cluster_name", "test"]);
                command.args(["--cluster", &format!("nats://127.0.0.1:{cluster}")]);
                if !token.is_empty() {
                    command.args(["--auth", token]);
                }
                if let Some(other) = announce {
                    command.args(["--routes", &format!("nats://127.0.0.1:{}", other.cluster)]);
                }
                Program::Original(command.spawn().unwrap())
            }
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let ready = announce.map_or_else(String::new, |other| other.addr.to_string());
        let begin = Instant::now();
        while !greeting(addr).is_some_and(|info| info.contains(&ready)) {
            assert!(begin.elapsed() < DEADLINE, "server on {addr} is not ready");
            std::thread::yield_now();
        }
        TestServer { addr, cluster, program }
    }

    /// The original with a configuration file, which must make it listen on this port. It may not greet first.
    pub(crate) fn configured(port: u16, file: &Path) -> TestServer {
        let program = Program::Original(original().arg("-c").arg(file).spawn().unwrap());
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(begin.elapsed() < DEADLINE, "server on {addr} is not ready");
            std::thread::yield_now();
        }
        TestServer { addr, cluster: 0, program }
    }

    /// Subscriptions of all clients; the original is not asked.
    pub(crate) fn subscriptions(&self) -> Option<u64> {
        match &self.program {
            Program::Embedded(server) => Some(server.stats().subscriptions),
            Program::Original(_) => None,
        }
    }

    /// A bus for the orchestrator's side: in process where that is possible.
    pub(crate) async fn orchestrator(&self, token: &str) -> Arc<dyn Bus> {
        match &self.program {
            Program::Embedded(server) => {
                Arc::new(LocalBus::new(server.local_client("orchestrator"), 1 << 20).unwrap())
            }
            Program::Original(_) => connect(&format!("{}", self.addr), token).await.bus,
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        match &mut self.program {
            Program::Embedded(server) => server.shutdown(),
            Program::Original(child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

/// A connector of node `n-1`.
pub(crate) fn connector(addresses: &str, token: &str) -> Connector {
    Connector::new(ConnectOptions {
        node_id: "n-1".into(),
        reread: None,
        addresses: parse_addresses(&[addresses], &Credentials::token(token)).unwrap(),
        tls: Default::default(),
        seed: 7,
    })
}

/// A connection of node `n-1`.
pub(crate) async fn connect(addresses: &str, token: &str) -> Connected {
    within(connector(addresses, token).connect()).await
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("took too long")
}

/// Waits until the server knows of everything that was subscribed on this bus.
pub(crate) async fn settle(bus: &dyn Bus) {
    let inbox = bus.new_inbox();
    let mut messages = bus.subscribe(&inbox).await.unwrap();
    bus.publish(&inbox, None, &Headers::NONE, "x".into()).await.unwrap();
    within(messages.next()).await.unwrap();
}
