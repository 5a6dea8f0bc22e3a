//! The network of one container: none, the host's, a private one with a way out, or one with nothing but a proxy.
//!
//! Namespaces have no names and live only as long as the node, the container or its supervisor holds them, so that none
//! is left behind. What the node adds, the proxy and the ports, its next life adds again.

mod bridge;
mod forward;
mod netlink;
mod netns;

pub(super) use bridge::Bridge;

use super::bundle::NetworkSpace;
use super::error;
use crate::egress::{self, DomainList, Proxy};
use crate::engines::{EngineRequest, Port};
use bacalhau_model::network::NetworkType;
use bacalhau_model::{Error, NetworkConfig};
use bridge::Link;
pub(super) use bridge::Wire;
use forward::Forwards;
use netns::Netns;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A network that is ready; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) space: NetworkSpace,
    /// The container's address, where it has one.
    pub(super) address: Option<IpAddr>,
    /// The host as the container sees it.
    pub(super) host: Option<IpAddr>,
    /// Variables that lead to the way out.
    pub(super) env: Vec<(String, String)>,
    // In the order in which they have to go.
    _forwards: Option<Forwards>,
    _proxy: Option<Proxy>,
    link: Option<Link>,
    _namespace: Option<Netns>,
}

/// What the next life of the node has to know about a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    /// Where programs expect the proxy.
    proxy: Option<SocketAddr>,
    /// The wire to the host.
    pub(super) wire: Option<Wire>,
}

impl Network {
    fn plain(space: NetworkSpace) -> Network {
        let (env, link) = (Vec::new(), None);
        Network {
            space,
            address: None,
            host: None,
            env,
            _forwards: None,
            _proxy: None,
            link,
            _namespace: None,
        }
    }

    /// For the next life.
    pub(super) fn record(&self) -> NetworkRecord {
        NetworkRecord {
            proxy: self._proxy.as_ref().map(Proxy::address),
            wire: self.link.as_ref().map(Link::wire),
        }
    }

    /// Where its namespace is found while this is there, if it is one that somebody has to hold.
    pub(super) fn namespace(&self) -> Option<PathBuf> {
        self._namespace.as_ref().map(Netns::path)
    }

    /// Leaves everything that outlives the node as it is.
    pub(super) fn leave(mut self) {
        if let Some(link) = self.link.take() {
            link.leave();
        }
    }

    /// Goes on with the network of a container that runs, whose namespace is found at this path. What cannot be had again
    /// is told: the container goes on without it.
    pub(super) async fn adopt(
        record: NetworkRecord,
        request: &EngineRequest,
        namespace: &Path,
        bridge: &Arc<Bridge>,
    ) -> Network {
        let mut network = Network::plain(NetworkSpace::Empty);
        let execution = &request.execution.id;
        if let Some(address) = record.proxy {
            match serve(request, namespace, address).await {
                Ok(proxy) => network._proxy = Some(proxy),
                Err(error) => tracing::warn!(%execution, %error, "an adopted container has no egress proxy"),
            }
        }
        if let Some(wire) = record.wire {
            let link = bridge.adopt(wire).await;
            match Forwards::open(&request.ports, link.address).await {
                Ok(forwards) => network._forwards = Some(forwards),
                Err(error) => tracing::warn!(%execution, %error, "an adopted container has no ports"),
            }
            network.link = Some(link);
        }
        network
    }

    /// Takes it down and waits for that.
    pub(super) async fn close(mut self) {
        self._forwards = None;
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

/// Whether this node can give a task the network it wants.
pub(super) fn check(network: &NetworkConfig) -> Result<(), Error> {
    match network.r#type {
        NetworkType::None | NetworkType::Host | NetworkType::Full => Ok(()),
        NetworkType::Http => DomainList::of(network).map(drop),
        NetworkType::Default | NetworkType::Bridge => match bridge::missing_program() {
            None => Ok(()),
            Some(program) => Err(error(format!(
                "a network of type Bridge needs the program '{program}', which this node does not have"
            ))
            .hint("Use network type None, Host or HTTP, or install iproute2 and iptables on the node")),
        },
    }
}

/// Sets up what a task asks for.
pub(super) async fn set_up(request: &EngineRequest, bridge: &Arc<Bridge>) -> Result<Network, Error> {
    check(&request.network)?;
    match request.network.r#type {
        NetworkType::None => Ok(Network::plain(NetworkSpace::Empty)),
        NetworkType::Host | NetworkType::Full => Ok(Network::plain(NetworkSpace::Host)),
        NetworkType::Http => http(request).await,
        NetworkType::Default | NetworkType::Bridge => private(&request.ports, bridge).await,
    }
}

async fn namespace() -> Result<Netns, Error> {
    Netns::new().await.map_err(|e| error(format!("cannot make a network: {e}")).retryable())
}

/// A loopback, and on it the proxy, whose own connections leave through the host's network.
async fn http(request: &EngineRequest) -> Result<Network, Error> {
    let namespace = namespace().await?;
    let proxy = serve(request, &namespace.path(), (Ipv4Addr::LOCALHOST, 0).into()).await?;
    Ok(Network {
        env: proxy.variables(),
        _proxy: Some(proxy),
        _namespace: Some(namespace),
        ..Network::plain(NetworkSpace::Empty)
    })
}

async fn serve(request: &EngineRequest, namespace: &Path, address: SocketAddr) -> Result<Proxy, Error> {
    let domains = DomainList::of(&request.network)?;
    let names = egress::Names {
        job_id: request.execution.job_id.clone(),
        execution_id: request.execution.id.clone(),
    };
    let started = async { Proxy::serve(egress::listen_inside(namespace, address).await?, domains, names) };
    started.await.map_err(|e| error(format!("cannot start the egress proxy: {e}")).retryable())
}

/// A wire to the host, which passes on what goes out, and the ports that lead in.
async fn private(ports: &[Port], bridge: &Arc<Bridge>) -> Result<Network, Error> {
    let namespace = namespace().await?;
    let link = bridge.connect(&namespace).await?;
    let forwards = Forwards::open(ports, link.address).await?;
    Ok(Network {
        address: Some(IpAddr::V4(link.address)),
        host: Some(IpAddr::V4(link.host)),
        _forwards: Some(forwards),
        link: Some(link),
        _namespace: Some(namespace),
        ..Network::plain(NetworkSpace::Empty)
    })
}
