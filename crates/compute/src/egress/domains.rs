//! The domains a task may reach. Pure.
//!
//! `example.com` is that name alone, `.example.com` the name and everything below it, `*.example.com` only what is
//! below. Addresses are listed as addresses: `192.0.2.7`, `2001:db8::1`. There are no ports: who may reach a host may
//! reach all of its ports.

use super::COMPONENT;
use bacalhau_model::{Error, NetworkConfig, error::code};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// Entries of one list at most; far above what anybody writes, and a bound for what a job can make a node hold.
const MAX_ENTRIES: usize = 4096;

/// Names and addresses a task may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainList {
    exact: BTreeSet<String>,
    /// Everything below these names.
    below: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

/// The host of a request in the one form in which it is compared and connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name: lower case, ASCII, no dot at its end.
    Name(String),
    /// An address; one of IPv4 in the clothes of IPv6 is told as one of IPv4.
    Address(IpAddr),
}

impl DomainList {
    /// The list of a network of type `HTTP`.
    ///
    /// # Errors
    /// Nothing is listed, or an entry is neither a name, a wildcard nor an address.
    pub fn of(network: &NetworkConfig) -> Result<DomainList, Error> {
        if network.domains.is_empty() {
            return Err(invalid("network type HTTP needs at least one domain".to_owned()).hint(
                "List the domains the job may reach in Network.Domains, or choose network type Host or None",
            ));
        }
        DomainList::new(&network.domains)
    }

    /// Reads the list of a task. An empty one allows nothing.
    ///
    /// # Errors
    /// The first entry that is neither a name, a wildcard nor an address.
    pub fn new(domains: &[String]) -> Result<DomainList, Error> {
        if domains.len() > MAX_ENTRIES {
            let message = format!("{} domains are listed, a task may list {MAX_ENTRIES}", domains.len());
            return Err(invalid(message).hint("Use wildcards such as .example.com"));
        }
        let mut list = DomainList::default();
        for entry in domains {
            let text = entry.trim();
            let (text, apex, below) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
                (Some(name), _) => (name, false, true),
                (_, Some(name)) => (name, true, true),
                _ => (text, true, false),
            };
            match Host::parse(text) {
                Some(Host::Address(address)) if !below => {
                    list.addresses.insert(address);
                }
                Some(Host::Name(name)) => {
                    if below {
                        list.below.insert(name.clone());
                    }
                    if apex {
                        list.exact.insert(name);
                    }
                }
                _ => {
                    return Err(invalid(format!("invalid domain {entry:?}")).hint(
                        "Write a name (example.com), a wildcard (.example.com or *.example.com) or an address, without a port",
                    ));
                }
            }
        }
        Ok(list)
    }

    /// True when nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty() && self.addresses.is_empty()
    }

    /// Whether a host may be reached. A port at its end does not matter. What a name resolves to is checked when it is
    /// dialled: see [`super::dial`].
    pub fn allows(&self, host: &str) -> bool {
        Host::parse(without_port(host.trim())).is_some_and(|host| self.allows_host(&host))
    }

    /// The same for a host that has been read.
    pub(super) fn allows_host(&self, host: &Host) -> bool {
        match host {
            Host::Address(address) => self.addresses.contains(address),
            Host::Name(name) => self.exact.contains(name) || parents(name).any(|p| self.below.contains(p)),
        }
    }

    /// Whether this very address is listed.
    pub(super) fn lists_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

impl Host {
    /// Reads a host without a port, as browsers do: Unicode becomes punycode, and a number such as `0x7f.1` is the
    /// address it means. `None` when it is no host.
    pub(super) fn parse(text: &str) -> Option<Host> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Host::Address(IpAddr::V6(address).to_canonical()));
        }
        match url::Host::parse(text).ok()? {
            url::Host::Ipv4(address) => Some(Host::Address(address.into())),
            url::Host::Ipv6(address) => Some(Host::Address(IpAddr::V6(address).to_canonical())),
            url::Host::Domain(name) => is_name(&name).then_some(Host::Name(name)),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(address) => write!(f, "{address}"),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(code::BAD_REQUEST, message).component(COMPONENT)
}

fn is_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `a.b.c` has the parents `b.c` and `c`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent)).skip(1)
}

/// The host of `host`, `host:port`, `[v6]:port` or a bare address.
fn without_port(text: &str) -> &str {
    if text.parse::<Ipv6Addr>().is_ok() {
        return text;
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(entries: &[&str]) -> DomainList {
        DomainList::new(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn names_wildcards_and_addresses() {
        let list = list(&["Example.com", ".swallow.org", "*.below.net", "192.0.2.7", "2001:db8::1", "[::1]"]);
        for host in [
            "example.com",
            "EXAMPLE.COM",
            "example.com.",
            "example.com:8443",
            "swallow.org",
            "a.swallow.org",
            "a.b.swallow.org",
            "x.below.net",
            "y.x.below.net:80",
            "192.0.2.7",
            "192.0.2.7:80",
            "2001:db8::1",
            "[2001:db8:0::1]:443",
            "::1",
            "::ffff:192.0.2.7",
        ] {
            assert!(list.allows(host), "{host}");
        }
        for host in [
            "",
            ".",
            "a.example.com",
            "badexample.com",
            "example.com.evil.org",
            "example.co",
            "below.net",
            "xswallow.org",
            "192.0.2.8",
            "2001:db8::2",
            "127.0.0.1",
            "com",
            "example.com:",
            "example.com:80:80",
            "user@example.com",
            "example.com/x",
            "exa mple.com",
            "192.0.2.7.example.org",
        ] {
            assert!(!list.allows(host), "{host}");
        }
        assert!(!DomainList::default().allows("example.com"));
        assert!(DomainList::default().is_empty() && !list.is_empty());
    }

    #[test]
    fn spellings_of_an_address_are_that_address() {
        let list = list(&["192.0.2.7"]);
        for host in ["3221225991", "0xc0.0.2.7", "0300.0.02.07"] {
            assert!(list.allows(host), "{host}");
        }
        assert_eq!(Host::parse("2130706433"), Some(Host::Address("127.0.0.1".parse().unwrap())));
        assert_eq!(Host::parse("bücher.example"), Some(Host::Name("xn--bcher-kva.example".into())));
    }

    #[test]
    fn entries_that_are_none_are_named() {
        for entry in [
            "",
            " ",
            ".",
            "*",
            "*.",
            "a b",
            "http://a.com",
            "a.com:80",
            "*.192.0.2.7",
            "-a.com",
            "a..b",
            "*.*.c",
        ] {
            let error = DomainList::new(&[entry.to_owned()]).unwrap_err();
            assert_eq!(error.message, format!("invalid domain {entry:?}"));
        }
        let many = vec!["a.com".to_owned(); MAX_ENTRIES + 1];
        assert!(DomainList::new(&many).unwrap_err().message.contains("4097 domains"));
    }

    proptest! {
        #[test]
        fn only_what_is_listed(host in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}", entry in "(\\*\\.|\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){0,2}") {
            let list = list(&[&entry]);
            let expected = if let Some(name) = entry.strip_prefix("*.") {
                host.ends_with(&format!(".{name}"))
            } else if let Some(name) = entry.strip_prefix('.') {
                host == name || host.ends_with(&format!(".{name}"))
            } else {
                host == entry
            };
            prop_assert_eq!(list.allows(&host), expected);
            prop_assert_eq!(list.allows(&format!("{}.:443", host.to_uppercase())), expected);
        }

        #[test]
        fn no_host_breaks_it(host in "\\PC{0,40}") {
            prop_assert!(!list(&["unlikely-name.example"]).allows(&host));
        }

        #[test]
        fn addresses_match_themselves(address: IpAddr, other: IpAddr) {
            let list = list(&[&address.to_string()]);
            prop_assert!(list.allows(&address.to_string()));
            prop_assert_eq!(list.allows(&other.to_string()), other.to_canonical() == address.to_canonical());
        }
    }
}
