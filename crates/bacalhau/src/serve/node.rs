//! One node of either or both roles, with everything that belongs to it.

use super::credentials::Stored;
use super::watch::Watch;
use super::{bus_options, compute, engines, figures, options};
use crate::failure::fail;
use bacalhau_api::credentials::CredentialBook;
use bacalhau_api::server::{self, Running, Services};
use bacalhau_compute::{ComputeNode, Way};
use bacalhau_config::{Config, DataDir, render};
use bacalhau_model::{Error, version};
use bacalhau_nats_server::Server;
use bacalhau_orchestrator::Orchestrator;
use bacalhau_wire::bus_local::LocalBus;
use bacalhau_wire::connect::Reread;
use bacalhau_wire::subjects;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Which roles a node has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles {
    pub(super) orchestrator: bool,
    pub(super) compute: bool,
    /// It will be started again with the same data: tasks that can go on without it do.
    pub(super) comes_back: bool,
}

/// How often nodes are asked whether they are there; after three without an answer their connection is closed.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How a part came to its end.
type Ended = JoinHandle<Result<(), Error>>;

/// A running node.
pub(super) struct Node {
    nats: Option<Arc<Server>>,
    orchestrator: Option<(Orchestrator, Ended)>,
    compute: Option<(ComputeNode, Ended)>,
    api: Running,
}

impl Node {
    /// Starts all parts; what a later part needs is running before it. `reread` gives the orchestrators' addresses
    /// and tokens anew when a token was refused.
    pub(super) async fn start(
        config: &Config,
        dir: &DataDir,
        name: &str,
        roles: Roles,
        reread: Option<Reread>,
    ) -> Result<Node, Error> {
        subjects::check_node_id(name).map_err(|why| {
            fail(format!("node name {name:?} cannot be used: {why}"))
                .hint("Give another one with --name in a fresh data folder")
        })?;
        let mut nats = None;
        let mut book = None;
        let mut orchestrator = None;
        if roles.orchestrator {
            let stored = Stored::read(dir.orchestrator().join("node-credentials.json"))?;
            let watch = Arc::new(Watch::new(stored.keys()));
            let server = Arc::new(start_nats(config, name, &stored, Arc::clone(&watch))?);
            book = Some(Arc::new(stored.keep(Arc::clone(&server))) as Arc<dyn CredentialBook>);
            let started = start_orchestrator(config, dir, name, &server).await?;
            watch.tell(started.0.clone());
            nats = Some(server);
            orchestrator = Some(started);
        }
        let compute = match roles.compute {
            true => {
                Some(start_compute(config, dir, name, nats.as_deref(), (reread, roles.comes_back)).await?)
            }
            false => None,
        };
        let services = Services {
            orchestrator: orchestrator.as_ref().map(|(o, _)| o.clone()),
            compute: compute.as_ref().map(|(c, _)| c.clone()),
            credentials: book,
            figures: nats.as_ref().map(figures::of_server),
            info: options::orchestrator_info(config, name),
            version: version::this_build(),
            config: render::document(config),
            metrics: config.bool("API.Metrics"),
        };
        let api = server::start(options::api(config, !roles.orchestrator)?, services).await?;
        Ok(Node { nats, orchestrator, compute, api })
    }

    /// Where the API listens.
    pub(super) fn api_addr(&self) -> SocketAddr {
        self.api.addr
    }

    /// Where the NATS server listens.
    pub(super) fn nats_addr(&self) -> Option<SocketAddr> {
        self.nats.as_ref().map(|nats| nats.addr())
    }

    /// Reads the certificates again. Connections that are open stay, whatever comes of it.
    pub(super) fn reload_certificates(&self) {
        let Some(nats) = &self.nats else { return };
        match nats.reload_tls() {
            Ok(()) => tracing::info!("certificates were read again"),
            Err(error) => {
                tracing::error!(%error, "the new certificates cannot be used; the former ones stay")
            }
        }
    }

    /// Completes when a part cannot go on; otherwise never.
    pub(super) async fn failed(&mut self) -> Result<(), Error> {
        async fn end(part: Option<&mut Ended>) -> Result<(), Error> {
            match part {
                Some(ended) => ended
                    .await
                    .unwrap_or_else(|e| Err(fail(format!("a part of the node ended abnormally: {e}")))),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            result = end(self.orchestrator.as_mut().map(|(_, ended)| ended)) => result,
            result = end(self.compute.as_mut().map(|(_, ended)| ended)) => result,
        }
    }

    /// Ends all parts in the reverse order, each before the ones that it needs.
    pub(super) async fn shutdown(self) {
        self.api.shutdown().await;
        if let Some((compute, ended)) = self.compute {
            compute.shutdown();
            finish("compute node", ended).await;
        }
        if let Some((orchestrator, ended)) = self.orchestrator {
            orchestrator.shutdown();
            finish("orchestrator", ended).await;
        }
        if let Some(nats) = self.nats {
            nats.shutdown();
        }
    }
}

/// Waits for a part that was asked to end. One that ended before by itself has told why already.
async fn finish(what: &str, ended: Ended) {
    if ended.is_finished() {
        return;
    }
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the {what} did not end well"),
        Err(error) => tracing::error!(%error, "the {what} ended abnormally"),
    }
}

fn start_nats(config: &Config, name: &str, stored: &Stored, watch: Arc<Watch>) -> Result<Server, Error> {
    // Nodes and clients come as connections. Compute nodes need few, and leave the limit to their tasks as it is.
    if let Err(error) = bacalhau_nats_server::raise_file_limit() {
        tracing::warn!("the limit of open files stays: {error}");
    }
    let port = options::port(config, "Orchestrator.Port");
    let token = Some(config.text("Orchestrator.Auth.Token").to_owned()).filter(|token| !token.is_empty());
    let host = config.text("Orchestrator.Host");
    let only_here = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let nkeys = stored.users();
    if token.is_none() && !stored.closed && !only_here {
        tracing::warn!(
            "Orchestrator.Auth.Token is not set: every machine that reaches port {port} can join as a compute node"
        );
    }
    let connect_urls = bus_options::announced(config)?.into_iter().collect();
    let options = bacalhau_nats_server::Options {
        host: host.to_owned(),
        port,
        server_name: Some(name.to_owned()),
        token,
        nkeys,
        closed: stored.closed,
        connect_urls,
        tls: bus_options::nats_tls(config),
        tls_in_front: config.bool("Orchestrator.SupportReverseProxy"),
        events: Some(watch),
        // A node whose machine or network is gone without a word is noticed in seconds, not with its heartbeat.
        ping_interval: PING_INTERVAL,
        ping_max: 3,
        ..bacalhau_nats_server::Options::default()
    };
    Server::start(options).map_err(|e| {
        if let bacalhau_nats_server::Error::Option { option: "tls", problem } = &e {
            return fail(format!("Orchestrator.TLS: {problem}"))
                .hint("`bacalhau tls create` makes a certificate and sets both keys");
        }
        let text = format!("orchestrator port {port} cannot be listened on: {e}");
        match e.to_string().contains("in use") {
            true => fail(format!("orchestrator port {port} is already in use"))
                .hint("stop what uses it, or choose another with -c Orchestrator.Port=<port>"),
            false => fail(text).hint("check Orchestrator.Host and Orchestrator.Port"),
        }
    })
}

/// The largest message that the embedded server takes.
fn max_payload() -> usize {
    bacalhau_nats_server::Options::default().max_payload
}

fn local_bus(server: &Server, name: &str) -> Result<Arc<LocalBus>, Error> {
    let bus = LocalBus::new(server.local_client(name), max_payload());
    bus.map(Arc::new).map_err(|e| fail(format!("the embedded NATS server does not answer: {e}")))
}

async fn start_orchestrator(
    config: &Config,
    dir: &DataDir,
    name: &str,
    server: &Server,
) -> Result<(Orchestrator, Ended), Error> {
    let options = bacalhau_orchestrator::Options {
        dir: dir.orchestrator(),
        settings: options::settings(config, name),
        job_defaults: options::job_defaults(config),
        info: options::orchestrator_info(config, name),
        instance_id: dir.instance_id().to_owned(),
        max_payload: max_payload(),
        seed: options::seed(),
        events_kept: u64::try_from(config.int("Orchestrator.EventsKept")).unwrap_or(0),
        pinner: engines::pinner(config)?,
    };
    bacalhau_orchestrator::start(options, local_bus(server, name)?).await
}

async fn start_compute(
    config: &Config,
    dir: &DataDir,
    name: &str,
    server: Option<&Server>,
    (reread, comes_back): (Option<Reread>, bool),
) -> Result<(ComputeNode, Ended), Error> {
    let addresses = bus_options::orchestrators(config)?;
    let executor = options::executor(config, dir, &addresses)?;
    let way = match server {
        Some(server) => Way::Local(local_bus(server, name)?),
        None => Way::Connect(bus_options::connect(config, name, addresses, reread)?),
    };
    let options = bacalhau_compute::Options {
        node_id: name.to_owned(),
        labels: options::labels(config, name),
        version: version::this_build(),
        dir: dir.compute(),
        policy: compute::policy(config, dir).await?,
        executor,
        way,
        heartbeat: config.duration("Compute.Heartbeat.Interval"),
        leaves_tasks: comes_back,
        info_update: config.duration("Compute.Heartbeat.InfoUpdateInterval"),
        address: config.text("Compute.Network.AdvertisedAddress").to_owned(),
    };
    bacalhau_compute::start(options).await
}
