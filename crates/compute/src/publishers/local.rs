//! `local`: a tar.gz on this node's disk, served over HTTP by this node.

use super::{Publisher, archive, server};
use crate::logs::is_safe_name;
use bacalhau_model::{Error, Execution, SpecConfig, error::code};
use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Settings of the `local` publisher.
#[derive(Clone, Debug)]
pub struct LocalPublisherConfig {
    /// `Publishers.Types.Local.Address`: host or IP in the URLs. Loopback and unspecified addresses give way to
    /// `reachable_address`, because another machine could not use them.
    pub address: String,
    /// `Publishers.Types.Local.Port`; 0 takes a free one.
    pub port: u16,
    /// When the port is in use, take a free one instead of failing.
    pub port_may_change: bool,
    /// An address of this node that other machines can reach, if one is known.
    pub reachable_address: Option<String>,
}

impl Default for LocalPublisherConfig {
    /// Bacalhau 1.9's defaults: 127.0.0.1, port 6001.
    fn default() -> LocalPublisherConfig {
        LocalPublisherConfig {
            address: "127.0.0.1".to_owned(),
            port: 6001,
            port_may_change: false,
            reachable_address: None,
        }
    }
}

impl LocalPublisherConfig {
    /// The host that goes into URLs.
    fn url_host(&self) -> String {
        let address = self.address.trim();
        let only_here = match address.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
            Err(_) => address.is_empty() || address.eq_ignore_ascii_case("localhost"),
        };
        let chosen = match &self.reachable_address {
            Some(reachable) if only_here && !reachable.trim().is_empty() => reachable.trim(),
            _ if address.is_empty() || address == "0.0.0.0" || address == "::" => "127.0.0.1",
            _ => address,
        };
        match chosen.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => chosen.to_owned(),
        }
    }

    /// Loopback when the URLs are of use on this machine only, else every interface, as Bacalhau 1.9 does.
    fn bind_address(&self) -> SocketAddr {
        let host = self.url_host();
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || host == "localhost";
        let unspecified = self.address.trim() == "0.0.0.0";
        let ip = if loopback && !unspecified { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        SocketAddr::from((ip, self.port))
    }
}

/// The `local` publisher with its running server, which stops when this is dropped.
#[derive(Debug)]
pub struct LocalPublisher {
    folder: PathBuf,
    base_url: String,
    _server: DropGuard,
}

impl LocalPublisher {
    /// Binds the port and starts serving `folder`.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(config: &LocalPublisherConfig, folder: PathBuf) -> io::Result<LocalPublisher> {
        let listener = bind(config).await?;
        let port = listener.local_addr()?.port();
        archive::remove_parts(&folder);
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, folder.clone(), stop.clone()));
        let base_url = format!("http://{}:{port}", config.url_host());
        Ok(LocalPublisher { folder, base_url, _server: stop.drop_guard() })
    }

    /// What the URLs start with.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}

async fn bind(config: &LocalPublisherConfig) -> io::Result<TcpListener> {
    let address = config.bind_address();
    match TcpListener::bind(address).await {
        Err(error) if config.port_may_change && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::info!(
                "port {} is in use, the local publisher takes a free one; set Publishers.Types.Local.Port to choose",
                config.port
            );
            TcpListener::bind((address.ip(), 0)).await
        }
        bound => bound,
    }
}

impl Publisher for LocalPublisher {
    fn name(&self) -> &'static str {
        "local"
    }

    fn validate(&self, _spec: &SpecConfig) -> Result<(), Error> {
        Ok(())
    }

    fn publish<'a>(
        &'a self,
        execution: &'a Execution,
        _spec: &'a SpecConfig,
        folder: PathBuf,
    ) -> BoxFuture<'a, Result<SpecConfig, Error>> {
        Box::pin(async move {
            if !is_safe_name(&execution.id) {
                return Err(Error::new(code::BAD_REQUEST, format!("'{}' is no execution ID", execution.id)));
            }
            let name = format!("{}.tar.gz", execution.id);
            let target = self.folder.join(&name);
            let shown = target.display().to_string();
            let packed = tokio::task::spawn_blocking(move || archive::pack(&folder, &target)).await;
            packed.map_err(io::Error::other).flatten().map_err(|error| {
                Error::new(code::INTERNAL_ERROR, format!("cannot write {shown}: {error}"))
                    .hint("Check the free space and the permissions of the node's data folder")
                    .component("Publisher")
                    .retryable()
            })?;
            Ok(SpecConfig::new("urlDownload").with("URL", format!("{}/{name}", self.base_url)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, reachable: Option<&str>) -> LocalPublisherConfig {
        let reachable_address = reachable.map(str::to_owned);
        LocalPublisherConfig {
            address: address.to_owned(),
            port: 1,
            port_may_change: false,
            reachable_address,
        }
    }

    #[tokio::test]
    async fn a_port_in_use_gives_way_only_if_it_may() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut config = LocalPublisherConfig { port, ..config("127.0.0.1", None) };
        let refused = LocalPublisher::start(&config, dir.path().to_owned()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        config.port_may_change = true;
        let publisher = LocalPublisher::start(&config, dir.path().to_owned()).await.unwrap();
        assert!(!publisher.base_url().ends_with(&format!(":{port}")), "{}", publisher.base_url());
    }

    #[test]
    fn urls_are_reachable_when_that_is_known() {
        let cases = [
            ("127.0.0.1", None, "127.0.0.1", "127.0.0.1:1"),
            ("127.0.0.1", Some("10.0.0.7"), "10.0.0.7", "0.0.0.0:1"),
            ("0.0.0.0", Some("10.0.0.7"), "10.0.0.7", "0.0.0.0:1"),
            ("0.0.0.0", None, "127.0.0.1", "0.0.0.0:1"),
            ("data.example.org", Some("10.0.0.7"), "data.example.org", "0.0.0.0:1"),
            ("", None, "127.0.0.1", "127.0.0.1:1"),
            ("::1", Some("fd00::5"), "[fd00::5]", "0.0.0.0:1"),
        ];
        for (address, reachable, host, bind) in cases {
            let config = config(address, reachable);
            assert_eq!(config.url_host(), host, "{address}");
            assert_eq!(config.bind_address().to_string(), bind, "{address}");
        }
    }
}
