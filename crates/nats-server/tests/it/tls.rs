//! Encrypted clients: ordinary ones, those that shake hands first, those with certificates, and those that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bacalhau_nats_server::{HandshakeFirst, Options, Server, TlsOptions, User, conf};
use futures_util::StreamExt;
use rcgen::{DnType, SanType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::certs::Certs;
use crate::differential::Reference;
use crate::reload::{Program, binaries};
use crate::support::{PATIENCE, Raw, eventually, options};
use crate::world::TempFile;

const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true}\r\nPING\r\n";

fn tls(certs: &Certs) -> TlsOptions {
    TlsOptions::new(certs.path("server.pem"), certs.path("server.key"))
}

fn verified(certs: &Certs) -> TlsOptions {
    TlsOptions { ca_file: Some(certs.path("ca.pem")), verify: true, ..tls(certs) }
}

fn serve(tls: TlsOptions) -> Server {
    Server::start(Options { tls: Some(tls), ..options() }).unwrap()
}

/// A client in bytes, encrypted.
struct Encrypted {
    stream: StreamOwned<ClientConnection, TcpStream>,
    seen: Vec<u8>,
}

impl Encrypted {
    /// Begins to encrypt on a connection. The handshake happens with the first byte read or written.
    fn over(stream: TcpStream, config: Arc<ClientConfig>) -> Encrypted {
        let name = ServerName::try_from("localhost").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        Encrypted { stream: StreamOwned::new(session, stream), seen: Vec::new() }
    }

    fn send(&mut self, text: &str) {
        // The server may have closed already; what it said before is what the test looks at.
        let _ = self.stream.write_all(text.as_bytes());
        let _ = self.stream.flush();
    }

    /// Everything up to and with `end`, or up to the end of the stream.
    fn until(&mut self, end: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(at) = text.find(end) {
                self.seen.drain(..at + end.len());
                return text[..at + end.len()].to_owned();
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(&buffer[..count]),
                _ => return text,
            }
        }
    }
}

fn info_first(addr: SocketAddr, config: Arc<ClientConfig>) -> (String, Encrypted) {
    let mut raw = Raw::open(addr);
    let info = raw.until("\r\n");
    (info, Encrypted::over(raw.stream, config))
}

#[test]
fn info_in_the_clear_and_the_rest_encrypted() {
    let certs = Certs::new();
    let server = serve(tls(&certs));
    let (info, mut client) = info_first(server.addr(), certs.client_config(None));
    assert!(info.contains("\"tls_required\":true") && !info.contains("tls_available"), "{info}");
    client.send(CONNECT);
    client.until("PONG\r\n");
    assert!(client.until("\r\n").contains("\"connect_info\":true"));
    client.send("SUB a 1\r\nPUB a 5\r\nhello\r\n");
    assert_eq!(client.until("hello\r\n"), "MSG a 1 5\r\nhello\r\n");
    // More than one record and more than the session's buffer, both ways.
    let large = "x".repeat(900_000);
    client.send(&format!("PUB a {}\r\n{large}\r\nPING\r\n", large.len()));
    assert!(client.until("PONG\r\n").contains(&large));
}

#[test]
fn who_does_not_encrypt_is_not_served() {
    let certs = Certs::new();
    let server = serve(TlsOptions { timeout: Duration::from_millis(100), ..tls(&certs) });
    let mut plain = Raw::open(server.addr());
    plain.until("\r\n");
    plain.send(CONNECT);
    let said = plain.rest();
    assert!(!said.contains("PONG") && !said.contains("INFO"), "{said:?}");
    // And who says nothing, or half a greeting, is not waited for.
    let mut silent = Raw::open(server.addr());
    silent.until("\r\n");
    assert_eq!(silent.rest(), "");
    let mut half = Raw::open(server.addr());
    half.until("\r\n");
    half.send([22, 3, 1, 2, 0, 1]);
    assert_eq!(half.rest(), "");
    eventually("counted", || server.stats().tls_failures == 3 && server.stats().connections == 0);
}

#[test]
fn optional_tls_serves_both() {
    let certs = Certs::new();
    let server = serve(TlsOptions { allow_non_tls: true, ..tls(&certs) });
    let mut plain = Raw::open(server.addr());
    let info = plain.until("\r\n");
    assert!(info.contains("\"tls_available\":true") && !info.contains("tls_required"), "{info}");
    plain.send(CONNECT);
    plain.until("PONG\r\n");
    let (_, mut encrypted) = info_first(server.addr(), certs.client_config(None));
    encrypted.send(CONNECT);
    encrypted.until("PONG\r\n");
    encrypted.send("SUB a 1\r\nPING\r\n");
    encrypted.until("PONG\r\n");
    plain.send("PUB a 2\r\nhi\r\n");
    assert_eq!(encrypted.until("hi\r\n"), "MSG a 1 2\r\nhi\r\n");
}

#[test]
fn the_handshake_may_come_first() {
    let certs = Certs::new();
    let first = |handshake_first| serve(TlsOptions { handshake_first, ..tls(&certs) });
    let auto = first(HandshakeFirst::Auto(Duration::from_millis(200)));
    for server in [&first(HandshakeFirst::Always), &auto] {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let mut client = Encrypted::over(stream, certs.client_config(None));
        client.send("");
        let info = client.until("\r\n");
        assert!(info.starts_with("INFO {") && info.contains("\"tls_required\":true"), "{info}");
        client.send(CONNECT);
        assert!(client.until("PONG\r\n").ends_with("PONG\r\n"));
    }
    // A client that waits for INFO gets it after the delay.
    let (info, mut client) = info_first(auto.addr(), certs.client_config(None));
    assert!(info.contains("\"tls_required\":true"));
    client.send(CONNECT);
    assert!(client.until("PONG\r\n").ends_with("PONG\r\n"));
}

#[test]
fn certificates_of_clients() {
    let (certs, strangers) = (Certs::new(), Certs::new());
    certs.client("known", None);
    strangers.client("stranger", None);
    let server = serve(verified(&certs));
    let try_with = |config| {
        let (info, mut client) = info_first(server.addr(), config);
        assert!(info.contains("\"tls_verify\":true"), "{info}");
        client.send(CONNECT);
        client.until("PONG\r\n").ends_with("PONG\r\n")
    };
    assert!(try_with(certs.client_config(Some("known"))));
    assert!(!try_with(certs.client_config(None)), "no certificate");
    // Trusts this server, and shows a certificate of somebody else's authority.
    for file in ["stranger.pem", "stranger.key"] {
        std::fs::copy(strangers.path(file), certs.path(file)).unwrap();
    }
    assert!(!try_with(certs.client_config(Some("stranger"))));
    eventually("counted", || server.stats().tls_failures == 2);
}

#[test]
fn a_certificate_can_be_the_user() {
    let certs = Certs::new();
    certs.client("by-name", None);
    certs.client("by-mail", Some("by@mail"));
    certs.client("nobody", None);
    let users = vec![User::new("CN=by-name", ""), User::new("by@mail", "p")];
    let tls = TlsOptions { verify_and_map: true, ..verified(&certs) };
    let server = Server::start(Options { tls: Some(tls), users, ..options() }).unwrap();
    let try_as = |name, connect: &str| {
        let (_, mut client) = info_first(server.addr(), certs.client_config(Some(name)));
        client.send(connect);
        client.until("PONG\r\n")
    };
    assert!(try_as("by-name", CONNECT).ends_with("PONG\r\n"));
    let with_password = CONNECT.replace("\"verbose\"", "\"pass\":\"p\",\"verbose\"");
    assert!(try_as("by-mail", &with_password).ends_with("PONG\r\n"));
    assert!(try_as("by-mail", CONNECT).contains("-ERR 'Authorization Violation'"));
    assert!(try_as("nobody", CONNECT).contains("-ERR 'Authorization Violation'"));
    let claims = CONNECT.replace("\"verbose\"", "\"user\":\"by@mail\",\"pass\":\"p\",\"verbose\"");
    assert!(
        try_as("by-name", &claims).contains("-ERR 'Authorization Violation'"),
        "no other user than its own"
    );
}

/// Subjects are compared in any order and spelling, beside the reference server.
#[test]
fn a_user_can_be_the_subject_or_the_address_in_a_certificate() {
    let certs = Certs::new();
    let (domain, mail) = ([0, 9, 2342, 19_200_300, 100, 1, 25], [1, 2, 840, 113_549, 1, 9, 1]);
    let subject = [
        (DnType::CountryName, "US"),
        (DnType::OrganizationName, "Acme, Inc"),
        (DnType::OrganizationalUnitName, "NATS"),
        (DnType::CommonName, "worker"),
        (DnType::CustomDnType(domain.to_vec()), "site"),
    ];
    certs.client_with("whole", &subject, Vec::new());
    let odd = [(DnType::CustomDnType(mail.to_vec()), "a@b"), (DnType::CommonName, "odd")];
    certs.client_with("odd", &odd, Vec::new());
    let place = SanType::URI("spiffe://example.org/w1".try_into().unwrap());
    certs.client_with("place", &[(DnType::CommonName, "x")], vec![place]);
    for (user, name, expected) in [
        ("DC=site,CN=worker,OU=NATS,O=Acme\\, Inc,C=US", "whole", true),
        ("c=US, o=Acme\\2c Inc, ou=NATS, cn=worker, dc=site", "whole", true),
        ("CN=worker,OU=NATS,O=Acme\\, Inc,C=US", "whole", true),
        ("OU=NATS,CN=worker,O=Acme\\, Inc,C=US", "whole", false),
        ("CN=Worker,OU=NATS,O=Acme\\, Inc,C=US,DC=site", "whole", false),
        ("CN=worker", "whole", false),
        ("worker", "whole", false),
        ("CN=odd", "odd", true),
        ("spiffe://example.org/w1", "place", true),
        ("CN=x", "place", true),
    ] {
        let path = |file: &str| certs.path(file).display().to_string();
        let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        let file = TempFile::new(
            "conf",
            &format!(
                "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify_and_map: true }}\n\
                 authorization {{ users: [{{ user: '{user}' }}] }}"
            ),
        );
        let mut options = conf::load(&file.path).unwrap().options;
        (options.host, options.port) = ("127.0.0.1".into(), 0);
        let ours = Server::start(options).unwrap();
        let is_let_in = |addr| {
            let (_, mut client) = info_first(addr, certs.client_config(Some(name)));
            client.send(CONNECT);
            client.until("\r\n").starts_with("PONG")
        };
        assert_eq!(is_let_in(ours.addr()), expected, "{user}");
        if let Ok(binary) = std::env::var("NATS_SERVER_BIN") {
            let theirs = Reference::start(&binary, &["-c", file.path.to_str().unwrap()]);
            assert_eq!(is_let_in(theirs.addr), expected, "the reference: {user}");
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let certs = Certs::new();
    let refused = |tls| Server::start(Options { tls: Some(tls), ..options() }).unwrap_err().to_string();
    let missing = TlsOptions::new(certs.path("no.pem"), certs.path("server.key"));
    assert!(refused(missing).contains("no.pem"));
    let swapped = TlsOptions::new(certs.path("server.key"), certs.path("server.pem"));
    assert!(refused(swapped).contains("server.key"));
    certs.client("other", None);
    let strange = TlsOptions::new(certs.path("server.pem"), certs.path("other.key"));
    assert!(refused(strange).contains("do not go together"));
    let blind = TlsOptions { verify: true, ..tls(&certs) };
    assert!(refused(blind).contains("ca_file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_nats_over_tls() {
    let certs = Certs::new();
    certs.client("known", None);
    for handshake_first in [HandshakeFirst::Never, HandshakeFirst::Always] {
        let server = serve(TlsOptions { handshake_first, ..verified(&certs) });
        let mut options = async_nats::ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(certs.path("ca.pem"))
            .add_client_certificate(certs.path("known.pem"), certs.path("known.key"));
        if handshake_first == HandshakeFirst::Always {
            options = options.tls_first();
        }
        let client = options.connect(format!("tls://localhost:{}", server.addr().port())).await.unwrap();
        let mut sub = client.subscribe("a.*").await.unwrap();
        let size = 512 * 1024;
        for n in 0..20 {
            client.publish(format!("a.{n}"), vec![n as u8; size].into()).await.unwrap();
        }
        for n in 0..20 {
            let message = tokio::time::timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
            assert_eq!(message.subject.as_str(), format!("a.{n}"));
            assert!(message.payload.len() == size && message.payload.iter().all(|byte| *byte == n as u8));
        }
    }
}

#[test]
fn certificates_are_read_again_and_open_connections_stay() {
    let (certs, fresh) = (Certs::new(), Certs::new());
    let server = serve(tls(&certs));
    let (_, mut old) = info_first(server.addr(), certs.client_config(None));
    old.send(CONNECT);
    old.until("PONG\r\n");
    std::fs::write(certs.path("server.pem"), "nonsense").unwrap();
    assert!(server.reload_tls().unwrap_err().to_string().contains("server.pem"));
    for file in ["server.pem", "server.key"] {
        std::fs::copy(fresh.path(file), certs.path(file)).unwrap();
    }
    server.reload_tls().unwrap();
    // The loop hears of it before it hears the next client.
    let (_, mut new) = info_first(server.addr(), fresh.client_config(None));
    new.send(CONNECT);
    assert!(new.until("PONG\r\n").ends_with("PONG\r\n"));
    old.send("PING\r\n");
    assert!(old.until("PONG\r\n").ends_with("PONG\r\n"));
}

#[test]
fn encryption_comes_changes_and_goes_while_connections_stay() {
    let certs = Certs::new();
    certs.client("ann", None);
    let server = Server::start(options()).unwrap();
    let with = |tls: Option<TlsOptions>| Options { tls, ..server.options() };
    let mut plain = Raw::connected(server.addr(), "{\"verbose\":false}");
    server.reload(with(Some(tls(&certs)))).unwrap();
    let (info, mut encrypted) = info_first(server.addr(), certs.client_config(None));
    assert!(info.contains("\"tls_required\":true") && !info.contains("tls_verify"), "{info}");
    encrypted.send(CONNECT);
    encrypted.until("PONG\r\n");
    // Now clients must show certificates, and shake hands first.
    server
        .reload(with(Some(TlsOptions { handshake_first: HandshakeFirst::Always, ..verified(&certs) })))
        .unwrap();
    let connect = |name: Option<&str>| {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let mut client = Encrypted::over(stream, certs.client_config(name));
        client.send(CONNECT);
        client.until("PONG\r\n")
    };
    assert!(!connect(None).contains("PONG"));
    assert!(connect(Some("ann")).contains("\"tls_verify\":true"));
    // What cannot be read changes nothing.
    let broken = TlsOptions { key_file: certs.path("ca.pem"), ..tls(&certs) };
    assert!(server.reload(with(Some(broken))).is_err());
    assert!(!connect(None).contains("PONG") && connect(Some("ann")).contains("PONG"));
    server.reload(with(None)).unwrap();
    let mut new = Raw::connected(server.addr(), "{\"verbose\":false}");
    encrypted.send("PING\r\n");
    assert!(encrypted.until("PONG\r\n").ends_with("PONG\r\n"));
    for raw in [&mut plain, &mut new] {
        raw.send("PING\r\n");
        raw.until("PONG\r\n");
    }
}

#[test]
fn a_handshake_that_has_begun_when_encryption_goes_ends() {
    let certs = Certs::new();
    let server = serve(TlsOptions { timeout: Duration::from_millis(200), ..tls(&certs) });
    let mut half = Raw::open(server.addr());
    half.until("\r\n");
    server.reload(Options { tls: None, ..server.options() }).unwrap();
    half.send([22, 3, 1, 2, 0, 1]);
    assert_eq!(half.rest(), "");
    eventually("nobody is left", || server.stats().connections == 0);
}

#[test]
fn users_who_are_their_certificates_at_a_reload() {
    let certs = Certs::new();
    let names = ["gone", "narrowed", "renewed", "same"];
    for name in names {
        certs.client(name, Some(&format!("{name}@mail")));
    }
    let file = |name| certs.path(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify_and_map: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let with = |users: &str| format!("{tls}\nauthorization {{ users: [{users}] }}");
    let old = "{user: \"gone@mail\"}, {user: \"narrowed@mail\"}, {user: \"renewed@mail\", password: p}, {user: \"same@mail\"}";
    let new = "{user: \"same@mail\"}, {user: \"renewed@mail\", password: q}, \
               {user: \"narrowed@mail\", permissions: {subscribe: y}}";
    let lost = "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'\r\nPONG\r\n";
    for binary in binaries() {
        let program = Program::start(&binary, &with(old));
        let mut open = names.map(|name| {
            let (_, mut client) = info_first(program.addr("nats"), certs.client_config(Some(name)));
            // The certificate counts, and not what else is said.
            let pass = if name == "renewed" { "p" } else { "" };
            let connect = format!("{{\"verbose\":false,\"user\":\"gone@mail\",\"pass\":\"{pass}\"}}");
            client.send(&format!("CONNECT {connect}\r\nSUB x 1\r\nPING\r\n"));
            let said = client.until("PONG\r\n");
            assert!(said.ends_with("PONG\r\n"), "{name} {binary}: {said}");
            client
        });
        let said = program.reload(&with(new));
        assert!(said.contains("Reloaded: tls = enabled"), "{binary}: {said}");
        for (client, told) in
            open.iter_mut().zip(["", lost, "-ERR 'Authorization Violation'\r\n", "PONG\r\n"])
        {
            client.send("PING\r\n");
            assert_eq!(client.until("PONG\r\n"), told, "{binary}");
        }
    }
}

/// Something in front of the server ends TLS: who comes through it insists on an INFO that offers TLS.
#[test]
fn encryption_that_ends_in_front_of_the_server_is_announced() {
    let certs = Certs::new();
    for (tls_in_front, tls) in [(false, None), (true, None), (true, Some(tls(&certs)))] {
        let required = tls.is_some();
        let server = Server::start(Options { tls_in_front, tls, ..options() }).unwrap();
        let info = Raw::open(server.addr()).until("\r\n");
        assert_eq!(info.contains("\"tls_available\":true"), tls_in_front && !required, "{info}");
        assert_eq!(info.contains("\"tls_required\":true"), required, "{info}");
    }
}

#[test]
fn the_ports_file_says_what_is_encrypted() {
    let certs = Certs::new();
    let path = |file: &str| certs.path(file).display().to_string();
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", path("server.pem"), path("server.key"));
    let plain_web = "websocket { host: \"127.0.0.1\", port: -1, no_tls: true }";
    let web = format!("websocket {{ host: \"127.0.0.1\", port: -1\n{tls} }}");
    for (config, nats, websocket) in [
        (format!("{tls}\n{web}"), "tls://", "wss://"),
        (format!("allow_non_tls: true\n{tls}\n{plain_web}"), "nats://", "ws://"),
        (plain_web.to_owned(), "nats://", "ws://"),
    ] {
        for binary in binaries() {
            let program = Program::start(&binary, &config);
            assert!(program.url("nats").starts_with(nats), "{binary} {config}");
            assert!(program.url("websocket").starts_with(websocket), "{binary} {config}");
        }
    }
}
