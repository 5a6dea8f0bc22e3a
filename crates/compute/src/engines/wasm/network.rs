//! What a guest may reach, from the network section of its job. Pure.

use crate::egress::DomainList;
use bacalhau_model::{Error, NetworkConfig, NetworkType};

/// What a guest may reach.
#[derive(Debug)]
pub(super) enum Access {
    /// No network: there are not even functions for it.
    None,
    /// Functions for requests, every one of which is refused. What 1.9 makes of `Bridge`.
    Refused,
    /// HTTP requests to these domains.
    Domains(DomainList),
    /// The host's network: HTTP requests to any host, and sockets.
    Host,
}

impl Access {
    /// `Default` means the host's network: a node that rejects networked jobs has replaced it by `None` already.
    ///
    /// # Errors
    /// `HTTP` without a domain, or with one that is none.
    pub(super) fn of(network: &NetworkConfig) -> Result<Access, Error> {
        Ok(match network.r#type {
            NetworkType::None => Access::None,
            NetworkType::Bridge => Access::Refused,
            NetworkType::Default | NetworkType::Host | NetworkType::Full => Access::Host,
            NetworkType::Http => Access::Domains(DomainList::of(network)?),
        })
    }

    /// Whether the guest has a network at all, be it one that refuses everything.
    pub(super) fn has_network(&self) -> bool {
        !matches!(self, Access::None)
    }

    /// Whether HTTP requests may go to this host: a name or an address, without a port.
    pub(super) fn allows(&self, host: &str) -> bool {
        match self {
            Access::None | Access::Refused => false,
            Access::Domains(domains) => domains.allows(host),
            Access::Host => true,
        }
    }

    /// Whether it may use sockets: a socket knows addresses, not domains.
    pub(super) fn allows_sockets(&self) -> bool {
        matches!(self, Access::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(r#type: NetworkType, domains: &[&str]) -> Result<Access, Error> {
        let domains = domains.iter().map(|&d| d.to_owned()).collect();
        Access::of(&NetworkConfig { r#type, domains, ..NetworkConfig::default() })
    }

    #[test]
    fn each_type_has_its_rule() {
        use NetworkType::{Bridge, Default, Full, Host, Http, None};
        for (r#type, has_network, any_host, sockets) in [
            (None, false, false, false),
            (Bridge, true, false, false),
            (Default, true, true, true),
            (Host, true, true, true),
            (Full, true, true, true),
        ] {
            let access = access(r#type, &[]).unwrap();
            assert_eq!(access.has_network(), has_network, "{type}");
            assert_eq!(access.allows("example.com"), any_host, "{type}");
            assert_eq!(access.allows_sockets(), sockets, "{type}");
        }
        let listed = access(Http, &["example.com"]).unwrap();
        assert!(listed.has_network() && !listed.allows_sockets());
        assert!(listed.allows("example.com") && !listed.allows("example.org"));
        assert!(access(Http, &[]).unwrap_err().message.contains("at least one domain"));
    }
}
