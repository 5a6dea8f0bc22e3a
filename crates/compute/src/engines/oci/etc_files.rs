//! Files that every container gets anew: `hosts`, `hostname` and `resolv.conf`. Pure but for what the host says.

use super::bundle::{Bind, Layout};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;

/// Bytes of the host's files that are looked at.
const MOST: usize = 64 << 10;

/// Asked by name servers of a machine whose own are its loopback's, which nobody else reaches: Docker's choice.
const PUBLIC: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// What a container is told about names.
pub(super) struct Names<'a> {
    pub(super) hostname: &'a str,
    /// Its own address, where it has one.
    pub(super) address: Option<IpAddr>,
    /// The host, as it is seen from there (`host.docker.internal`).
    pub(super) host: Option<IpAddr>,
    /// It lives in the host's network.
    pub(super) host_network: bool,
}

/// Writes the files. Blocks.
pub(super) fn write(layout: &Layout, names: &Names<'_>) -> io::Result<Vec<Bind>> {
    let folder = layout.files();
    DirBuilder::new().mode(0o755).create(&folder)?;
    let host_file = |path: &str| -> String {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.get(..text.floor_char_boundary(MOST)).unwrap_or_default().to_owned()
    };
    let resolv = if names.host_network {
        host_file("/etc/resolv.conf")
    } else {
        // systemd's resolver listens on the loopback; it keeps the real ones beside.
        let own = host_file("/etc/resolv.conf");
        let behind = host_file("/run/systemd/resolve/resolv.conf");
        resolv_conf(&own, &behind)
    };
    let own_hosts = if names.host_network { host_file("/etc/hosts") } else { String::new() };
    let files = [
        ("hosts", hosts(names, &own_hosts)),
        ("hostname", format!("{}\n", names.hostname)),
        ("resolv.conf", resolv),
    ];
    let write = |(name, text): (&str, String)| {
        let source = folder.join(name);
        fs::write(&source, text)?;
        Ok(Bind { source, target: format!("/etc/{name}"), read_only: false })
    };
    files.into_iter().map(write).collect()
}

fn hosts(names: &Names<'_>, own: &str) -> String {
    let mut text = if own.trim().is_empty() {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned()
    } else {
        format!("{}\n", own.trim_end())
    };
    if let Some(host) = names.host {
        text.push_str(&format!("{host}\thost.docker.internal\n"));
    }
    let own = names.address.map_or_else(|| "127.0.1.1".to_owned(), |address| address.to_string());
    text.push_str(&format!("{own}\t{}\n", names.hostname));
    text
}

/// The host's settings without name servers that only the host reaches.
fn resolv_conf(own: &str, behind: &str) -> String {
    let without_loopback = |text: &str| -> (String, bool) {
        let is_loopback = |server: &str| server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let mut servers = false;
        let mut kept = String::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("nameserver") {
                if words.next().is_none_or(is_loopback) {
                    continue;
                }
                servers = true;
            }
            kept.push_str(line);
            kept.push('\n');
        }
        (kept, servers)
    };
    let (kept, servers) = without_loopback(own);
    if servers {
        return kept;
    }
    match without_loopback(behind) {
        (kept, true) => kept,
        _ => kept + PUBLIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_can_be_reached() {
        let own = "search example\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n";
        assert_eq!(resolv_conf(own, ""), "search example\nnameserver 10.0.0.1\n");
        let stub = "nameserver 127.0.0.53\noptions edns0\n";
        assert_eq!(resolv_conf(stub, "nameserver 10.0.0.2\n"), "nameserver 10.0.0.2\n");
        assert_eq!(resolv_conf(stub, ""), format!("options edns0\n{PUBLIC}"));
    }

    #[test]
    fn hosts_of_a_container() {
        let names = Names {
            hostname: "e-1",
            address: Some(IpAddr::from([10, 1, 0, 2])),
            host: Some(IpAddr::from([10, 1, 0, 1])),
            host_network: false,
        };
        let text = hosts(&names, "");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.0.1\thost.docker.internal\n10.1.0.2\te-1\n"));
    }
}
