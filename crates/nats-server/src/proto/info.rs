//! The INFO document. A key that is false or empty must be absent: clients take its presence for true.

use std::sync::Arc;

use serde::Serialize;

use crate::options::{Options, TlsOptions};
use crate::reactor::Door;

/// The NATS version whose behaviour is announced; clients switch features on by it.
pub(crate) const COMPATIBLE_VERSION: &str = "2.15.1";

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// For whom an INFO is.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) cid: u64,
    pub(crate) ip: String,
    pub(crate) auth_required: bool,
    /// What it is to sign; only before CONNECT.
    pub(crate) nonce: Option<Box<str>>,
    /// Encryption where it came in.
    pub(crate) tls: Tls,
    /// Its account, once it has passed CONNECT and its first PING.
    pub(crate) account: Option<Arc<str>>,
    /// That is the account of the system.
    pub(crate) is_system: bool,
    /// Its own limit, which may be above the server's.
    pub(crate) max_payload: Option<usize>,
}

/// What a listener asks of its clients.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tls {
    required: bool,
    available: bool,
    verify: bool,
}

impl Tls {
    /// `in_front`: something there ends TLS for the server.
    pub(crate) fn of(door: &Door, in_front: bool) -> Tls {
        let required = door.requires_tls();
        let verify = |(options, _): &(TlsOptions, _)| options.verify || options.verify_and_map;
        Tls {
            required,
            available: match door.tls {
                Some(_) => !required,
                None => in_front && door.web.is_none(),
            },
            verify: door.tls.as_ref().is_some_and(verify),
        }
    }
}

/// What the server says about itself; one base per server, completed per connection.
#[derive(Clone, Serialize)]
pub(crate) struct Info {
    pub(crate) server_id: Arc<str>,
    pub(crate) server_name: Arc<str>,
    version: &'static str,
    proto: u8,
    // Always sent by other servers, so it is sent here; there is no Go version to tell.
    go: &'static str,
    host: Arc<str>,
    port: u16,
    #[serde(skip)]
    listening: u16,
    headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_available: bool,
    max_payload: usize,
    client_id: u64,
    client_ip: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) connect_urls: Vec<String>,
    #[serde(rename = "ldm", skip_serializing_if = "is_false")]
    pub(crate) lame_duck: bool,
    #[serde(skip_serializing_if = "is_false")]
    connect_info: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_account: Option<Arc<str>>,
    #[serde(skip_serializing_if = "is_false")]
    acc_is_sys: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<Box<str>>,
}

impl Info {
    /// The part that is the same for everybody. `port` is the one really listened on.
    pub(crate) fn new(options: &Options, port: u16) -> Self {
        let server_id: Arc<str> = server_id().into();
        let (host, announced) = advertised(options, port);
        let server_name = options.server_name.as_deref().map_or_else(|| server_id.clone(), Arc::from);
        Self {
            server_id,
            server_name,
            version: COMPATIBLE_VERSION,
            proto: 1,
            go: "",
            host,
            port: announced,
            listening: port,
            headers: options.headers,
            auth_required: false,
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            max_payload: options.max_payload,
            client_id: 0,
            client_ip: String::new(),
            connect_urls: options.connect_urls.clone(),
            lame_duck: false,
            connect_info: false,
            remote_account: None,
            acc_is_sys: false,
            nonce: None,
        }
    }

    /// Other settings from now on.
    pub(crate) fn follow(&mut self, options: &Options) {
        self.max_payload = options.max_payload;
        (self.host, self.port) = advertised(options, self.listening);
    }

    /// The protocol line for one connection.
    pub(crate) fn line(&self, reader: Reader) -> Vec<u8> {
        let mut info = self.clone();
        info.client_id = reader.cid;
        info.client_ip = reader.ip;
        info.auth_required = reader.auth_required;
        info.max_payload = reader.max_payload.map_or(info.max_payload, |own| own.min(info.max_payload));
        info.tls_required = reader.tls.required;
        info.tls_verify = reader.tls.verify;
        info.tls_available = reader.tls.available;
        info.nonce = reader.nonce;
        info.acc_is_sys = reader.account.is_some() && reader.is_system;
        info.connect_info = reader.account.is_some();
        info.remote_account = reader.account;
        let mut line = b"INFO ".to_vec();
        // Strings and numbers into a vector cannot fail; an empty document would still be a readable INFO.
        if serde_json::to_writer(&mut line, &info).is_err() {
            line.extend_from_slice(b"{}");
        }
        line.extend_from_slice(b" \r\n");
        line
    }
}

/// Host and port for clients.
fn advertised(options: &Options, listening: u16) -> (Arc<str>, u16) {
    match &options.client_advertise {
        Some(address) => (address.host.as_str().into(), address.port.unwrap_or(listening)),
        None => (options.host.as_str().into(), listening),
    }
}

/// A random id in the form of a NATS server key: `N` and 55 characters of base 32.
fn server_id() -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut id = String::with_capacity(56);
    id.push('N');
    id.extend((1..56).filter_map(|_| fastrand::choice(ALPHABET)).map(|byte| char::from(*byte)));
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Advertise;

    #[test]
    fn absent_means_false() {
        let options = Options::default();
        let line = Info::new(&options, 1).line(Reader { cid: 7, ip: "::1".into(), ..Reader::default() });
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with("INFO {\"server_id\":\"N") && text.ends_with("} \r\n"));
        for key in ["auth_required", "connect_urls", "connect_info", "remote_account", "tls", "ldm", "nonce"]
        {
            assert!(!text.contains(key), "{key}");
        }
        let json: serde_json::Value = serde_json::from_str(text.trim_start_matches("INFO ")).unwrap();
        assert_eq!(json["server_id"].as_str().unwrap().len(), 56);
        assert_eq!((json["client_id"].as_u64(), json["client_ip"].as_str()), (Some(7), Some("::1")));
    }

    #[test]
    fn the_announced_address() {
        let seen = |options: &Options| {
            let line = Info::new(options, 4222).line(Reader::default());
            let json: serde_json::Value = serde_json::from_slice(&line[5..]).unwrap();
            (json["host"].as_str().unwrap().to_owned(), json["port"].as_u64().unwrap())
        };
        let with = |text| Options { client_advertise: Some(Advertise::parse(text)), ..Options::default() };
        assert_eq!(seen(&Options::default()), ("0.0.0.0".into(), 4222));
        assert_eq!(seen(&with("me:4333")), ("me".into(), 4333));
        assert_eq!(seen(&with("me")), ("me".into(), 4222));
        let mut info = Info::new(&Options::default(), 4222);
        info.follow(&with("me"));
        assert_eq!((&*info.host, info.port), ("me", 4222));
    }

    #[test]
    fn second_info() {
        let options =
            Options { token: Some("t".into()), connect_urls: vec!["a:1".into()], ..Options::default() };
        let reader = Reader {
            auth_required: true,
            account: Some("$G".into()),
            max_payload: Some(500),
            ..Reader::default()
        };
        let text = String::from_utf8(Info::new(&options, 1).line(reader)).unwrap();
        assert!(text.contains(r#""connect_info":true"#) && text.contains(r#""remote_account":"$G""#));
        assert!(text.contains(r#""auth_required":true"#) && text.contains(r#""connect_urls":["a:1"]"#));
        assert!(text.contains(r#""max_payload":500"#), "its own limit is the lower one");
    }
}
