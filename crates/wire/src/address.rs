//! Addresses of orchestrators as users write them in `Compute.Orchestrators`.
//!
//! `host`, `host:port`, `nats://host`, `tls://host`, `token@host`, `user:password@host`, each also several in one
//! entry, separated by commas. What stands before the `@` is a secret: it is never printed.

use crate::credentials::NodeCredentials;
use std::fmt;

/// Port of a NATS server.
const DEFAULT_PORT: u16 = 4222;

/// What a node shows at the door.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A shared or personal token.
    Token(String),
    /// Name and password.
    User {
        /// Name.
        name: String,
        /// Password.
        password: String,
    },
    /// A key of one's own.
    Node(NodeCredentials),
}

impl Credentials {
    /// A token; none when it is empty.
    pub fn token(token: &str) -> Credentials {
        if token.is_empty() { Credentials::None } else { Credentials::Token(token.to_owned()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Token(_) => "Token(***)",
            Credentials::User { .. } => "User(***)",
            Credentials::Node(_) => "Node(***)",
        })
    }
}

/// One address. `Display` and `Debug` leave the credentials out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS is required.
    pub tls: bool,
    /// Shown to this server.
    pub credentials: Credentials,
}

impl Address {
    /// The address as the client library takes it: without credentials.
    pub(crate) fn url(&self) -> String {
        format!("{}://{self}", if self.tls { "tls" } else { "nats" })
    }

    /// The same place, whatever is shown there.
    pub(crate) fn is_same_place(&self, other: &Address) -> bool {
        self.host.eq_ignore_ascii_case(&other.host) && self.port == other.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads all entries of `Compute.Orchestrators`. Addresses without credentials of their own get `usual`. One `tls://`
/// makes all of them secure, as with the original's client.
///
/// # Errors
/// The entry that is no address, and why, without its secrets.
pub fn parse_addresses<S: AsRef<str>>(entries: &[S], usual: &Credentials) -> Result<Vec<Address>, String> {
    let mut addresses: Vec<Address> = Vec::new();
    let words = entries.iter().flat_map(|entry| entry.as_ref().split(','));
    for word in words.map(str::trim).filter(|word| !word.is_empty()) {
        let mut address = parse(word)?;
        if address.credentials == Credentials::None {
            address.credentials = usual.clone();
        }
        if !addresses.iter().any(|known| known.is_same_place(&address)) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(
            "no orchestrator is configured; set Compute.Orchestrators, e.g. nats://10.0.0.1:4222".to_owned()
        );
    }
    let secure = addresses.iter().any(|address| address.tls);
    addresses.iter_mut().for_each(|address| address.tls = secure);
    Ok(addresses)
}

/// Reads one address. The error does not repeat what stands before an `@`.
pub(crate) fn parse(text: &str) -> Result<Address, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let rest = rest.trim_end_matches('/');
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let fail = |why: &str| {
        Err(format!("{why} in orchestrator address {place:?}; write host:port or nats://host:port"))
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "nats" => false,
        "tls" => true,
        "ws" | "wss" => return fail("WebSocket is not supported"),
        // Shown only if it can be nothing else: a slip of the pen may have put a secret there.
        word if word.len() <= 6 && word.bytes().all(|b| b.is_ascii_lowercase()) => {
            return fail(&format!("unknown scheme {word:?}"));
        }
        _ => return fail("unknown scheme"),
    };
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, port))) => (host, port.strip_prefix(':').or(Some(port))),
        Some(None) => return fail("missing ']'"),
        None if place.matches(':').count() > 1 => (place, None),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => DEFAULT_PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return fail("bad port"),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#\\".contains(c))
    {
        return fail("bad host");
    }
    Ok(Address { host: host.to_owned(), port, tls, credentials: login.map(credentials).unwrap_or_default() })
}

fn credentials(login: &str) -> Credentials {
    match login.split_once(':') {
        Some((name, password)) => Credentials::User { name: decode(name), password: decode(password) },
        None if login.is_empty() => Credentials::None,
        None => Credentials::Token(decode(login)),
    }
}

/// Resolves `%41`; whatever is no such code stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|c| !c.starts_with('+')).and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Address {
        parse_addresses(&[text], &Credentials::token("")).unwrap().remove(0)
    }

    #[test]
    fn every_usual_spelling_is_understood() {
        for (text, place) in [
            ("host", "host:4222"),
            ("host:1", "host:1"),
            ("nats://host", "host:4222"),
            ("NATS://host:7/", "host:7"),
            (" 10.0.0.1 ", "10.0.0.1:4222"),
            ("[::1]:5", "[::1]:5"),
            ("nats://[fe80::1]", "[fe80::1]:4222"),
            ("::1", "[::1]:4222"),
        ] {
            assert_eq!(one(text).to_string(), place, "{text}");
        }
        assert_eq!(one("tls://h").url(), "tls://h:4222");
    }

    #[test]
    fn credentials_in_the_address_win() {
        let user = Credentials::User { name: "u".into(), password: "p:q".into() };
        assert_eq!(one("u:p:q@h").credentials, user);
        assert_eq!(one("nats://t%40k%zz%@h:1").credentials, Credentials::Token("t@k%zz%".into()));
        let both = parse_addresses(&["a, mine@b"], &Credentials::token("shared")).unwrap();
        assert_eq!(both[0].credentials, Credentials::Token("shared".into()));
        assert_eq!(both[1].credentials, Credentials::Token("mine".into()));
    }

    #[test]
    fn lists_are_joined_and_one_tls_secures_all() {
        let all = parse_addresses(&["a,b:1", "", "tls://c", "A:4222"], &Credentials::token("")).unwrap();
        assert_eq!(all.iter().map(Address::to_string).collect::<Vec<_>>(), ["a:4222", "b:1", "c:4222"]);
        assert!(all.iter().all(|address| address.tls));
    }

    #[test]
    fn mistakes_are_named_without_secrets() {
        for bad in [
            "hush@h:x",
            "hush@",
            "hush@h:0",
            "hush@h:70000",
            "wss://hush@h",
            "ftp://hush@h",
            "hush@[::1",
            "hush@a b",
        ] {
            let error = parse_addresses(&[bad], &Credentials::token("")).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
            assert!(error.contains("orchestrator address"), "{error}");
        }
        assert!(
            parse_addresses::<&str>(&[], &Credentials::None).unwrap_err().contains("Compute.Orchestrators")
        );
        let shown = format!("{0:?} {0} {1:?}", one("hush@h"), one("u:hush@h").credentials);
        assert!(!shown.contains("hush"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_crashes_it(text in ".{0,40}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()).unwrap().to_string(), address.to_string());
            }
        }
    }
}
