//! The address that INFO names in place of the one listened on.

/// An address for clients, where they cannot reach the server under the one that it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Name or address, without brackets.
    pub host: String,
    /// `None`: the port listened on.
    pub port: Option<u16>,
}

impl Advertise {
    /// Reads `host`, `host:port` or `[address]:port`. Port 0 stands for the one listened on.
    pub fn parse(text: &str) -> Advertise {
        let split = text.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let with_port = split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = match with_port {
            Some((host, port)) => (host, Some(port).filter(|port| *port > 0)),
            None => (text.trim_end_matches(':'), None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Advertise { host: host.to_owned(), port }
    }
}

impl std::fmt::Display for Advertise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, host, port) in [
            ("me", "me", None),
            ("me:", "me", None),
            ("me:0", "me", None),
            ("me:4333", "me", Some(4333)),
            ("[::1]:4333", "::1", Some(4333)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
        ] {
            assert_eq!(Advertise::parse(text), Advertise { host: host.into(), port }, "{text}");
        }
        assert_eq!(Advertise::parse("[::1]:4333").to_string(), "[::1]:4333");
    }
}
