//! One execution from its image to the removal of everything it had: pull, network, container, end.

use super::container;
use super::daemon::Connected;
use super::image::ImageName;
use super::network::{self, Private};
use super::patience::Patience;
use super::remains::Remains;
use super::started::Started;
use super::{Names, Parts, errors, gpus, params};
use crate::egress;
use crate::engines::container::Params;
use crate::engines::{EngineError, EngineRequest};
use bacalhau_model::{Error, NetworkType, error::code};
use bollard::models::{ContainerCreateBody, ContainerSummary};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListContainersOptionsBuilder};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;

/// An execution on its way.
pub(super) struct Life {
    parts: Arc<Parts>,
    request: EngineRequest,
    held: Held,
}

/// What has to be removed at the end.
#[derive(Default)]
struct Held {
    container: Option<String>,
    network: Option<String>,
    proxy: Option<egress::Proxy>,
    /// A former life of the node may have left more, which nobody could look for yet.
    unseen: bool,
}

impl Life {
    pub(super) fn new(parts: Arc<Parts>, request: EngineRequest) -> Life {
        Life { parts, request, held: Held::default() }
    }

    /// Runs it to its end. Nothing of it is left in Docker afterwards, or as soon as Docker lets it. Dropped before the end,
    /// it leaves everything as it is.
    pub(super) async fn run(mut self) -> Result<i64, EngineError> {
        let id = self.request.execution.id.clone();
        self.parts.remains.need(&id);
        let result = Box::pin(self.work()).await;
        let removed = self.remove_all().await;
        self.parts.remains.done_with(&id);
        if let Err(error) = removed {
            tracing::warn!(execution = %id, %error, "cannot clean up in Docker; trying again later");
            self.parts.remains.sweep_later();
        }
        result
    }

    async fn work(&mut self) -> Result<i64, EngineError> {
        let started = if self.request.adopt {
            self.adopt_patiently().await?
        } else {
            let daemon = self.parts.daemon.get().await.map_err(EngineError::not_started)?;
            self.start(&daemon).await?
        };
        started.finish(&self.parts, &self.request).await
    }

    /// Makes a container and starts it.
    async fn start(&mut self, daemon: &Arc<Connected>) -> Result<Started, EngineError> {
        let not_started = EngineError::not_started;
        let params =
            params(&self.request.engine, self.request.execution.job.as_deref()).map_err(not_started)?;
        let body = self.describe(daemon, &params).await.map_err(not_started)?;
        let id = self.create(daemon, &params, body).await?;
        self.held.container = Some(id.clone());
        if self.request.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let log = self.request.log.clone();
        let started = Started::start(Arc::clone(daemon), id, log).await.map_err(not_started)?;
        self.request.progress.started();
        Ok(started)
    }

    async fn describe(
        &mut self,
        daemon: &Connected,
        params: &Params<ImageName>,
    ) -> Result<ContainerCreateBody, Error> {
        let mut labels = self.parts.names.labels(&self.request.execution);
        let mut network_id = None;
        if self.request.network.r#type == NetworkType::Http {
            let private = network::create_private(daemon, &self.parts.names, &self.request.execution).await?;
            self.held.network = Some(private.id.clone());
            let proxy = self.start_proxy(&private, 0).await?;
            self.request.env.extend(proxy.variables());
            Names::note_proxy(&mut labels, proxy.address().port());
            self.held.proxy = Some(proxy);
            network_id = Some(private.id);
        }
        let gpus = self.request.resources.gpus.clone();
        let asked = self.request.resources.gpu;
        if asked > gpus.len() as u64 {
            let message =
                format!("{asked} GPUs are set aside for the task, and the node can name {}", gpus.len());
            return Err(Error::new(code::INTERNAL_ERROR, message)
                .component(errors::COMPONENT)
                .hint("The node found no tool of the GPUs' vendor; see docs/compute-node.md"));
        }
        let (inputs, results) = (self.request.mounts.clone(), self.request.results.clone());
        let work = Arc::clone(&self.request.work);
        let prepared = tokio::task::spawn_blocking(move || {
            Ok::<_, Error>((container::mounts(&inputs, &results, &work)?, gpus::devices(&gpus)?))
        });
        let (mounts, devices) =
            prepared.await.map_err(|e| errors::internal(format!("preparing inputs broke down: {e}")))??;
        let mut body =
            container::describe(&self.request, params, &self.parts.config, daemon, mounts, devices, labels);
        if let (Some(network), Some(host)) = (network_id, &mut body.host_config) {
            host.network_mode = Some(network);
        }
        Ok(body)
    }

    /// The proxy on the host's address in the private network; port 0 takes a free one.
    async fn start_proxy(&self, private: &Private, port: u16) -> Result<egress::Proxy, Error> {
        let domains = egress::DomainList::of(&self.request.network)?;
        let names = egress::Names {
            job_id: self.request.execution.job_id.clone(),
            execution_id: self.request.execution.id.clone(),
        };
        serve_proxy(private.gateway, port, domains, names).await.map_err(|e| {
            let message = format!("cannot start the proxy of network type HTTP on {}: {e}", private.gateway);
            errors::internal(message)
                .retryable()
                .hint("Network type HTTP needs Docker on the same machine as the compute node")
        })
    }

    /// Creates the container, and pulls its image first where it is missing or made for another platform. The usual
    /// case takes one request.
    async fn create(
        &self,
        daemon: &Arc<Connected>,
        params: &Params<ImageName>,
        body: ContainerCreateBody,
    ) -> Result<String, EngineError> {
        let name = self.parts.names.object(&self.request.execution, "executor");
        let mut options = CreateContainerOptionsBuilder::new().name(&name);
        if daemon.knows_platforms {
            options = options.platform(&daemon.platform.to_string());
        }
        let options = options.build();
        let (mut may_pull, mut may_replace) = (true, true);
        loop {
            let created = daemon.docker.create_container(Some(options.clone()), body.clone()).await;
            match created {
                Ok(created) => return Ok(created.id),
                Err(error) if errors::is_missing_image(&error) && may_pull => {
                    may_pull = false;
                    self.pull(daemon, params).await?;
                }
                Err(error) if errors::is_conflict(&error) && may_replace => {
                    // A former life began this execution.
                    may_replace = false;
                    Remains::remove_container(daemon, &name).await.map_err(EngineError::not_started)?;
                }
                Err(error) => {
                    let error = errors::explain("failed to create container", &error);
                    return Err(EngineError::not_started(error));
                }
            }
        }
    }

    async fn pull(&self, daemon: &Arc<Connected>, params: &Params<ImageName>) -> Result<(), EngineError> {
        if self.parts.config.skip_pull {
            let why = "it is not on the node, and SKIP_IMAGE_PULL is set";
            return Err(EngineError::not_started(errors::no_image(&params.image, why)));
        }
        let pull = self.parts.pulls.pull(daemon, &self.parts.config, &params.image, &self.request.progress);
        tokio::select! {
            biased;
            () = self.request.cancel.cancelled() => Err(EngineError::Cancelled),
            pulled = pull => pulled.map_err(EngineError::not_started),
        }
    }

    /// Adopts as soon as the daemon answers: it may be started at the same time as the node.
    async fn adopt_patiently(&mut self) -> Result<Started, EngineError> {
        let mut patience = Patience::new(&self.request);
        self.held.unseen = true;
        loop {
            match self.adopt().await {
                Err(error) => patience.after(error).await?,
                adopted => return adopted,
            }
            self.request.timeout = patience.time_left();
        }
    }

    /// Finds the container that a former life started.
    async fn adopt(&mut self) -> Result<Started, EngineError> {
        let daemon = &self.parts.daemon.get_anew().await.map_err(EngineError::not_started)?;
        let filter = self.parts.names.of(&self.request.execution.id);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let found = daemon.docker.list_containers(Some(options)).await.map_err(|error| {
            EngineError::not_started(errors::explain("looking for the container to go on with", &error))
        })?;
        self.held.unseen = false;
        let Some(ContainerSummary { id: Some(id), labels, .. }) = found.into_iter().next() else {
            return Err(EngineError::Gone);
        };
        self.held.container = Some(id.clone());
        if self.request.network.r#type == NetworkType::Http {
            let port = Names::proxy_port(&labels.unwrap_or_default()).unwrap_or(0);
            self.adopt_network(daemon, port).await.map_err(EngineError::not_started)?;
        }
        let log = self.request.log.clone();
        let adopted = Started::adopt(Arc::clone(daemon), id, log, self.parts.config.daemon_log_bytes)
            .await
            .map_err(EngineError::not_started)?;
        let adopted = adopted.ok_or(EngineError::Gone)?;
        self.request.progress.started();
        Ok(adopted)
    }

    /// The proxy again, where the container expects it.
    async fn adopt_network(&mut self, daemon: &Connected, port: u16) -> Result<(), Error> {
        let name = self.parts.names.object(&self.request.execution, "network");
        self.held.network = Some(name.clone());
        // What a try before this one has started.
        self.held.proxy = None;
        let gateway = network::gateway(daemon, &name).await?;
        self.held.proxy = Some(self.start_proxy(&Private { id: name, gateway }, port).await?);
        Ok(())
    }

    async fn remove_all(&mut self) -> Result<(), Error> {
        let Held { container, network, proxy, unseen } = std::mem::take(&mut self.held);
        drop(proxy);
        if unseen {
            return Err(errors::unreachable("removing what a former life left behind", "it did not answer"));
        }
        if container.is_none() && network.is_none() {
            return Ok(());
        }
        let daemon = self.parts.daemon.get().await?;
        if let Some(id) = container {
            Remains::remove_container(&daemon, &id).await?;
        }
        if let Some(id) = network {
            Remains::remove_network(&daemon, &id).await?;
        }
        Ok(())
    }
}

async fn serve_proxy(
    address: IpAddr,
    port: u16,
    domains: egress::DomainList,
    names: egress::Names,
) -> std::io::Result<egress::Proxy> {
    let listener = TcpListener::bind(SocketAddr::new(address, port)).await?;
    egress::Proxy::serve(listener, domains, names)
}
