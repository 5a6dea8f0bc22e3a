//! NATS inside WebSocket frames.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bacalhau_nats_server::{Options, Server, TlsOptions, WebSocketOptions, conf};
use futures_util::StreamExt;
use tungstenite::{Message, WebSocket};

use crate::certs::Certs;
use crate::support::{PATIENCE, Raw, eventually, options};
use crate::world::TempFile;

const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true}\r\nPING\r\n";

fn web() -> WebSocketOptions {
    WebSocketOptions { host: "127.0.0.1".into(), port: 0, ..WebSocketOptions::default() }
}

fn serve(web: WebSocketOptions) -> Server {
    Server::start(Options { websocket: Some(web), ..options() }).unwrap()
}

struct Client {
    web: WebSocket<TcpStream>,
    seen: String,
}

impl Client {
    fn open(server: &Server) -> Client {
        let addr = server.websocket_addr().unwrap();
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (web, _) = tungstenite::client(format!("ws://{addr}/"), stream).unwrap();
        Client { web, seen: String::new() }
    }

    fn connected(server: &Server) -> Client {
        let mut client = Client::open(server);
        assert!(client.until("\r\n").starts_with("INFO {"));
        client.send(CONNECT);
        client.until("PONG\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.web.send(Message::Binary(text.as_bytes().to_vec().into())).unwrap();
    }

    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(end) {
                let rest = self.seen.split_off(at + end.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.web.read().unwrap() {
                Message::Binary(bytes) => self.seen.push_str(std::str::from_utf8(&bytes).unwrap()),
                Message::Pong(_) => {}
                other => panic!("{other:?} instead of {end:?} after {:?}", self.seen),
            }
        }
    }
}

#[test]
fn good_frames_before_a_bad_one_count() {
    let server = serve(web());
    let mut plain = Raw::connected(server.addr(), "{\"verbose\":false}");
    plain.send("SUB a 1\r\nPING\r\n");
    plain.until("PONG\r\n");
    let mut client = Client::connected(&server);
    let good = b"\x82\x8d\0\0\0\0PUB a 2\r\nhi\r\n";
    let not_masked = b"\x82\x03abc";
    // In one write, so that they most likely arrive together.
    client.web.get_mut().write_all(&[good.as_slice(), not_masked].concat()).unwrap();
    assert_eq!(plain.until("hi\r\n"), "MSG a 1 2\r\nhi\r\n");
    eventually("only the bad frame's connection ends", || server.stats().connections == 1);
}

#[test]
fn frames_carry_nats_and_both_kinds_of_clients_meet() {
    let server = serve(web());
    let mut client = Client::connected(&server);
    client.send("SUB a.* 1\r\nPING\r\n");
    client.until("PONG\r\n");
    let mut plain = Raw::connected(server.addr(), "{\"verbose\":false}");
    plain.send("PUB a.b 5\r\nhello\r\n");
    assert_eq!(client.until("hello\r\n"), "MSG a.b 1 5\r\nhello\r\n");
    // The borders of frames mean nothing: one operation in many, many in one.
    for piece in ["PU", "B a.", "c 3\r", "\nab", "c\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.until("abc\r\n"), "MSG a.c 1 3\r\nabc\r\n");
    client.send(&"PUB a.d 1\r\nx\r\n".repeat(1000));
    for _ in 0..1000 {
        client.until("x\r\n");
    }
    // Larger than any frame before the log-in, and than the socket's buffers.
    let large = "y".repeat(1_000_000);
    for _ in 0..8 {
        client.send(&format!("PUB a.e {}\r\n{large}\r\n", large.len()));
    }
    for _ in 0..8 {
        assert!(client.until("y\r\n").ends_with(&format!("{large}\r\n")));
    }
    client.web.send(Message::Ping(b"still there?".to_vec().into())).unwrap();
    client.send("PING\r\n");
    client.until("PONG\r\n");
    client.web.close(None).unwrap();
    let _ = client.web.flush();
    eventually("it is gone", || server.stats().connections == 1);
}

#[test]
fn what_is_no_websocket_is_refused() {
    let server = serve(WebSocketOptions { handshake_timeout: Duration::from_millis(100), ..web() });
    let addr = server.websocket_addr().unwrap();
    let mut answers = Vec::new();
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT {}\r\nPING\r\n\r\n", "\0\0\0\0", "GET / HT"]
    {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer);
        answers.push(String::from_utf8_lossy(&answer).into_owned());
    }
    assert!(answers.iter().all(|answer| !answer.contains("INFO")), "{answers:?}");
    eventually("nothing is left", || server.stats().connections == 0);
    // A frame that is too large for somebody who has not logged in, and one that is not masked.
    let mut greedy = Client::open(&server);
    greedy.until("\r\n");
    let _ = greedy.web.send(Message::Binary(vec![b' '; 100_000].into()));
    let mut bare = Client::open(&server);
    bare.until("\r\n");
    bare.web.get_mut().write_all(b"\x82\x06PING\r\n").unwrap();
    eventually("both are gone", || server.stats().connections == 0);
}

#[test]
fn pages_from_elsewhere_are_refused() {
    let server = serve(WebSocketOptions { allowed_origins: vec!["https://good.example".into()], ..web() });
    let addr = server.websocket_addr().unwrap();
    let try_from = |origin: &str| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: {origin}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    };
    assert_eq!(try_from("https://good.example"), "HTTP/1.1 101");
    assert_eq!(try_from("https://bad.example"), "HTTP/1.1 403");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_nats_over_websocket() {
    let certs = Certs::new();
    let tls = Some(TlsOptions::new(certs.path("server.pem"), certs.path("server.key")));
    for (scheme, web) in [("ws", web()), ("wss", WebSocketOptions { tls, ..web() })] {
        let server = serve(web);
        let port = server.websocket_addr().unwrap().port();
        let client = async_nats::ConnectOptions::new()
            .add_root_certificates(certs.path("ca.pem"))
            .connect(format!("{scheme}://localhost:{port}"))
            .await
            .unwrap();
        let mut sub = client.subscribe("a").await.unwrap();
        for n in 0..10u8 {
            client.publish("a", vec![n; 300_000].into()).await.unwrap();
        }
        for n in 0..10u8 {
            let message = tokio::time::timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
            assert!(message.payload.len() == 300_000 && message.payload.iter().all(|byte| *byte == n));
        }
    }
}

#[test]
fn frames_may_be_longer_after_a_reload() {
    let server = Server::start(Options { websocket: Some(web()), max_payload: 1000, ..options() }).unwrap();
    let mut client = Client::connected(&server);
    server.reload(Options { max_payload: 500_000, ..server.options() }).unwrap();
    let large = "x".repeat(500_000);
    client.send(&format!("SUB a 1\r\nPUB a {}\r\n{large}\r\n", large.len()));
    assert!(client.until("x\r\n").contains("MSG a 1 500000\r\n"));
    let other = WebSocketOptions { same_origin: true, ..web() };
    let refused = server.reload(Options { websocket: Some(other), ..server.options() });
    assert!(refused.unwrap_err().to_string().contains("websocket.same_origin"));
}

#[test]
fn a_page_in_the_clear_is_told_that_the_port_is_encrypted() {
    let certs = Certs::new();
    let tls = TlsOptions::new(certs.path("server.pem"), certs.path("server.key"));
    let server = serve(WebSocketOptions { tls: Some(tls), ..web() });
    let mut raw = Raw::open(server.websocket_addr().unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n");
    let said = raw.rest();
    assert!(said.starts_with("HTTP/1.0 400 Bad Request\r\n\r\n") && said.contains("wss://"), "{said}");
}

/// A user for pages only, and one for everything but pages, as the configuration says it.
#[test]
fn users_may_be_bound_to_kinds_of_connections() {
    let file = TempFile::new(
        "conf",
        "authorization { users: [\n{user: page, password: p, allowed_connection_types: [WEBSOCKET]}\n\
         {user: tool, password: t, allowed_connection_types: [standard, MQTT]}\n{user: any, password: a}] }\n\
         websocket { port: -1, no_tls: true, host: \"127.0.0.1\" }",
    );
    let mut options = conf::load(&file.path).unwrap().options;
    (options.host, options.port) = ("127.0.0.1".into(), 0);
    let server = Server::start(options.clone()).unwrap();
    let connect = |user: &str| {
        let password = user.get(..1).unwrap();
        format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"{password}\",\"verbose\":false}}\r\nPING\r\n")
    };
    for (user, by_tcp, by_web) in [("page", false, true), ("tool", true, false), ("any", true, true)] {
        let mut raw = Raw::open(server.addr());
        raw.send(connect(user));
        let (said, ended) = raw.until_or_end("PONG\r\n");
        assert_eq!(!ended, by_tcp, "{user}: {said}");
        assert_eq!(said.contains("-ERR 'Authorization Violation'"), !by_tcp, "{user}: {said}");
        let mut web = Client::open(&server);
        web.until("\r\n");
        web.send(&connect(user));
        assert!(web.until("\r\n").starts_with(if by_web { "PONG" } else { "-ERR 'Authorization" }), "{user}");
    }
    // Whoever may not come in this way any more goes at a reload.
    let mut raw = Raw::open(server.addr());
    raw.send(connect("any"));
    raw.until("PONG\r\n");
    options.users[2].connection_types = vec!["WEBSOCKET".into()];
    server.reload(options.clone()).unwrap();
    assert_eq!(raw.rest(), "-ERR 'Authorization Violation'\r\n");
    options.users[2].connection_types = vec!["PIGEON".into()];
    assert!(server.reload(options.clone()).unwrap_err().to_string().contains("PIGEON"));
    options.users[2].connection_types = vec!["STANDARD".into()];
    options.no_auth_user = Some("any".into());
    assert!(Server::start(options).err().unwrap().to_string().contains("no_auth_user"));
}
