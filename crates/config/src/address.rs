//! Words for addresses: which interface a server listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address for an IP or a word: `any`, `loopback` (`localhost`, `local`), `private`, `public`, `linklocal`.
/// `own` are the addresses of this machine; the first of the kind is taken.
///
/// # Errors
/// Bacalhau 1.9's words for an unknown word and for a kind of which there is no address.
pub fn resolve(host: &str, own: &[IpAddr]) -> Result<IpAddr, String> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let word = host.to_ascii_lowercase();
    let fits: fn(&IpAddr) -> bool = match word.as_str() {
        "any" => return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "loopback" | "localhost" | "local" => return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "private" => is_private,
        "linklocal" => is_link_local,
        "public" => |ip| !ip.is_loopback() && !is_private(ip) && !is_link_local(ip) && !ip.is_unspecified(),
        _ => return Err(format!("invalid address type in Server API Host config: {host}")),
    };
    own.iter()
        .find(|ip| fits(ip))
        .copied()
        .ok_or_else(|| format!("no {word} addresses found for Server API Host"))
}

fn is_private(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => is_unique_local(*ip),
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80),
    }
}

fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.segments().first().is_some_and(|s| s & 0xfe00 == 0xfc00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let own: Vec<IpAddr> =
            ["127.0.0.1", "169.254.1.1", "10.0.0.5", "8.8.8.8"].map(|a| a.parse().unwrap()).into();
        for (word, address) in [
            ("1.2.3.4", "1.2.3.4"),
            ("any", "0.0.0.0"),
            ("localhost", "127.0.0.1"),
            ("Private", "10.0.0.5"),
            ("public", "8.8.8.8"),
            ("linklocal", "169.254.1.1"),
        ] {
            assert_eq!(resolve(word, &own).unwrap().to_string(), address);
        }
        assert!(resolve("moon", &own).unwrap_err().contains("invalid address type"));
        assert!(resolve("public", &[]).unwrap_err().contains("no public addresses found"));
    }
}
