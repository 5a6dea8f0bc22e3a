//! The shell under load: with its store on disk, the real bus and more to do than it has room for.

use super::*;
use bacalhau_nats_server::Server;
use bacalhau_wire::bus_local::LocalBus;
use bacalhau_wire::messages::{ControlRequest, HandshakeRequest};
use std::time::Duration;

/// A hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    orchestrator: Orchestrator,
    ended: Ended,
    /// Both go after the orchestrator.
    _server: Server,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start() -> World {
        let dir = tempfile::tempdir().unwrap();
        let options = bacalhau_nats_server::Options {
            host: "127.0.0.1".into(),
            port: 0,
            ..bacalhau_nats_server::Options::default()
        };
        let max_payload = options.max_payload;
        let server = Server::start(options).unwrap();
        let bus = LocalBus::new(server.local_client("orchestrator"), max_payload).unwrap();
        let options = Options {
            dir: dir.path().to_owned(),
            settings: Settings { node_id: "o".into(), ..Settings::default() },
            job_defaults: JobDefaults::default(),
            info: NodeInfo { node_id: "o".into(), ..NodeInfo::default() },
            instance_id: String::new(),
            max_payload,
            seed: 1,
            events_kept: 0,
            pinner: None,
        };
        let (orchestrator, ended) = start(options, Arc::new(bus)).await.unwrap();
        World { orchestrator, ended, _server: server, _dir: dir }
    }

    async fn join(&self, node_id: String) {
        let node_info = NodeInfo { node_id, node_type: NodeType::Compute, ..NodeInfo::default() };
        let request = HandshakeRequest { node_info, ..HandshakeRequest::default() };
        let request = Box::new(ControlRequest::Handshake(Box::new(request)));
        let command = Command::Control { request, reply_to: "nobody".into() };
        self.orchestrator.inner.commands.send(command).await.ok().unwrap();
    }

    async fn until_connected(&self, count: usize) {
        let wait = async { while self.orchestrator.census().await.unwrap().connected_nodes != count {} };
        tokio::time::timeout(PATIENCE, wait).await.expect("nodes");
    }
}

/// One thread runs everything, so while it waits for another one nothing leaves the queue.
#[tokio::test(flavor = "current_thread")]
async fn more_nodes_are_lost_at_once_than_fit_into_the_queue() {
    let world = World::start().await;
    let count = MOST_COMMANDS + 100;
    for n in 0..count {
        world.join(format!("n-{n}")).await;
    }
    world.until_connected(count).await;
    let orchestrator = world.orchestrator.clone();
    // As the bus does: on a thread that knows no runtime.
    let bus = std::thread::spawn(move || {
        for n in 0..count {
            orchestrator.connection_lost(&format!("n-{n}"));
        }
    });
    bus.join().unwrap();
    world.until_connected(0).await;
}

#[tokio::test(flavor = "current_thread")]
async fn it_ends_while_its_queue_is_always_full() {
    let world = World::start().await;
    let callers: Vec<_> = (0..2 * MOST_COMMANDS)
        .map(|_| {
            let orchestrator = world.orchestrator.clone();
            tokio::spawn(async move { while orchestrator.census().await.is_ok() {} })
        })
        .collect();
    while world.orchestrator.inner.commands.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    world.orchestrator.shutdown();
    tokio::time::timeout(PATIENCE, world.ended).await.expect("an end").unwrap().unwrap();
    for caller in callers {
        tokio::time::timeout(PATIENCE, caller).await.expect("an answer").unwrap();
    }
}
