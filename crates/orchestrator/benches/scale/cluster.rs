//! An orchestrator as it is shipped: the embedded NATS server, a store on disk, the driver.

use bacalhau_nats_server::{CloseReason, ConnInfo, Events, Server};
use bacalhau_orchestrator::{Ended, Options, Orchestrator, Settings};
use bacalhau_wire::bus_local::LocalBus;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Tells of connections that end; their names are node IDs.
#[derive(Default)]
struct Watch(OnceLock<Orchestrator>);

impl Events for Watch {
    fn disconnected(&self, conn: &ConnInfo, _: CloseReason) {
        if let Some(orchestrator) = self.0.get() {
            orchestrator.connection_lost(&conn.name);
        }
    }
    fn auth_failed(&self, _: SocketAddr, _: CloseReason) {}
    fn connected(&self, _: &ConnInfo) {}
}

pub struct Cluster {
    pub server: Server,
    pub orchestrator: Orchestrator,
    pub ended: Ended,
}

impl Cluster {
    pub async fn start(dir: &Path) -> Cluster {
        let watch = Arc::new(Watch::default());
        let options = bacalhau_nats_server::Options {
            host: "127.0.0.1".into(),
            port: 0,
            events: Some(Arc::clone(&watch) as Arc<dyn Events>),
            ..bacalhau_nats_server::Options::default()
        };
        let max_payload = options.max_payload;
        let server = Server::start(options).expect("a NATS server");
        let bus = Arc::new(LocalBus::new(server.local_client("orchestrator"), max_payload).expect("a bus"));
        let options = Options {
            dir: dir.to_owned(),
            events_kept: 0,
            pinner: None,
            settings: Settings { node_id: "o".into(), ..Settings::default() },
            job_defaults: bacalhau_model::defaults::JobDefaults::default(),
            info: bacalhau_model::NodeInfo { node_id: "o".into(), ..Default::default() },
            instance_id: String::new(),
            max_payload,
            seed: 1,
        };
        let (orchestrator, ended) =
            bacalhau_orchestrator::start(options, bus).await.expect("an orchestrator");
        let _ = watch.0.set(orchestrator.clone());
        Cluster { server, orchestrator, ended }
    }

    /// A bus for simulated nodes in this process.
    pub fn bus(&self) -> Arc<LocalBus> {
        let max_payload = bacalhau_nats_server::Options::default().max_payload;
        Arc::new(LocalBus::new(self.server.local_client("nodes"), max_payload).expect("a bus"))
    }

    pub async fn stop(self) {
        self.orchestrator.shutdown();
        self.ended.await.expect("the driver").expect("no error");
        self.server.shutdown();
    }
}

/// A process that only serves, until its input ends. Prints its port.
pub fn serve() {
    raise_limit();
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let cluster = runtime.block_on(Cluster::start(dir.path()));
    println!("{}", cluster.server.addr().port());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
    runtime.block_on(cluster.stop());
}

/// As many sockets as the system allows.
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("a limit for files");
}
