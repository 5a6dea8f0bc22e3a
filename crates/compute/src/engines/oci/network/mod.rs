//! The network of one container: none, the host's, a private one with a way out, or one with nothing but a proxy.
//!
//! Namespaces have no names and live only as long as the node or the container holds them, so that a killed node leaves
//! none behind.

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
use forward::Forwards;
use netns::Netns;
use std::net::{IpAddr, Ipv4Addr};
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
        NetworkType::Http => domains(network).map(drop),
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
    let domains = domains(&request.network)?;
    let namespace = namespace().await?;
    let names = egress::Names {
        job_id: request.execution.job_id.clone(),
        execution_id: request.execution.id.clone(),
    };
    let started = async {
        let listener = egress::listen_inside(&namespace.path(), IpAddr::V4(Ipv4Addr::LOCALHOST)).await?;
        Proxy::serve(listener, domains, names)
    };
    let proxy =
        started.await.map_err(|e| error(format!("cannot start the egress proxy: {e}")).retryable())?;
    Ok(Network {
        env: proxy.variables(),
        _proxy: Some(proxy),
        _namespace: Some(namespace),
        ..Network::plain(NetworkSpace::Empty)
    }
    .inside())
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
    }
    .inside())
}

impl Network {
    /// The container goes into the namespace that is there.
    fn inside(mut self) -> Network {
        if let Some(namespace) = &self._namespace {
            self.space = NetworkSpace::Prepared(namespace.path());
        }
        self
    }
}

fn domains(network: &NetworkConfig) -> Result<DomainList, Error> {
    if network.domains.is_empty() {
        return Err(
            error("a network of type HTTP needs at least one domain").hint("List them in Network.Domains")
        );
    }
    DomainList::new(&network.domains)
}
