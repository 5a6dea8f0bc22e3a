//! Clients in other languages: nats-py and the JavaScript client, over TCP, TLS and WebSocket, with every kind of log-in.
//! What they do is in `tests/foreign`; here are the servers. `NATS_CLIENT_TOOLS` names a folder with the clients, which
//! `.ci/run` prepares: `py/bin/python` with nats-py, and `js/node_modules`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bacalhau_nats_server::jwt::{Creds, KeyPair, Role};
use bacalhau_nats_server::{
    HandshakeFirst, NkeyUser, Options, Permissions, Rules, Server, TlsOptions, User, WebSocketOptions,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::certs::Certs;
use crate::program::Program;
use crate::support::{PATIENCE, options};
use crate::world::{World, key, now};

/// Longest silence of a client.
const SILENCE: Duration = Duration::from_secs(60);

/// A client library and what runs it.
struct Client {
    name: &'static str,
    command: PathBuf,
    script: &'static str,
    tools: PathBuf,
}

/// Those that are installed.
fn clients() -> Vec<Client> {
    let Ok(tools) = std::env::var("NATS_CLIENT_TOOLS") else {
        println!("skipped: NATS_CLIENT_TOOLS names no folder with clients in other languages");
        return Vec::new();
    };
    let tools = PathBuf::from(tools);
    let mut clients = Vec::new();
    let python = tools.join("py/bin/python");
    let works = |command: &Path| Command::new(command).arg("--version").output().is_ok();
    if works(&python) {
        clients.push(Client { name: "nats-py", command: python, script: "client.py", tools: tools.clone() });
    } else {
        println!("skipped: nats-py; there is no {}", python.display());
    }
    let packages = tools.join("js/node_modules/@nats-io");
    if packages.exists() && works(Path::new("node")) {
        clients.push(Client { name: "@nats-io", command: "node".into(), script: "client.mjs", tools });
    } else {
        println!("skipped: the JavaScript client; there is no node, or no {}", packages.display());
    }
    clients
}

impl Client {
    /// Plays scenes, one after the other; `act` does what they ask for.
    fn play(&self, scenes: &[(&str, Value)], mut act: impl FnMut(&str)) {
        let mut play = Play::begin(self, scenes);
        while let Some(line) = play.next_line() {
            let what = line.strip_prefix("DO ").unwrap_or_else(|| panic!("{}: {line}", self.name));
            act(what);
            play.go_on();
        }
        play.end(self.name);
    }
}

/// A running script; it ends with this value.
struct Play {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    errors: tempfile::NamedTempFile,
}

impl Play {
    fn begin(client: &Client, scenes: &[(&str, Value)]) -> Play {
        let errors = tempfile::NamedTempFile::new().unwrap();
        // Relative, because a target folder may be shared by checkouts: Cargo runs tests in the folder of their package.
        let script = Path::new("tests/foreign").join(client.script);
        let mut child = Command::new(&client.command)
            .arg(script)
            .arg(json!(scenes).to_string())
            .env("NODE_MODULES", client.tools.join("js/node_modules"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (line, lines) = sync_channel(16);
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).all(|text| line.send(text).is_ok());
        });
        Play { child, stdin, lines, errors }
    }

    /// What the script says; `None` at its end.
    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("silent: {}", self.errors()),
        }
    }

    fn go_on(&mut self) {
        self.stdin.write_all(b"done\n").unwrap();
    }

    fn end(mut self, name: &str) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{name}: {}", self.errors());
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.errors.path()).unwrap_or_default()
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn at(addr: SocketAddr) -> Value {
    json!({ "url": format!("nats://{addr}") })
}

/// Settings with more fields.
fn with(mut settings: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    settings.as_object_mut().unwrap().extend(more);
    settings
}

fn never(what: &str) {
    panic!("nothing to do, but asked for {what:?}");
}

#[test]
fn ordinary_work() {
    for client in clients() {
        let library = Server::start(options()).unwrap();
        let small = Server::start(Options { max_payload: 1000, ..options() }).unwrap();
        let plain = Server::start(Options { headers: false, ..options() }).unwrap();
        let program = Program::start(&format!("foreign-{}", client.script), "debug: true", &[]);
        let program_addr = program.open().stream.peer_addr().unwrap();
        let scenes = [
            ("talk", at(library.addr())),
            ("talk", at(program_addr)),
            ("max_payload", with(at(small.addr()), json!({ "max_payload": 1000 }))),
            ("no_headers", at(plain.addr())),
        ];
        client.play(&scenes, never);
    }
}

#[test]
fn who_may_connect_and_what_they_may_do() {
    for client in clients() {
        let token = Server::start(Options { token: Some("s3cret".into()), ..options() }).unwrap();
        let keys = key(Role::User);
        let permissions = Permissions {
            publish: Rules::only(["open.>"]),
            subscribe: Rules::only(["open.>", "_INBOX.>"]),
            ..Permissions::default()
        };
        let users = Server::start(Options {
            users: vec![
                User::new("ann", "p4ss"),
                User {
                    permissions: Some(permissions),
                    ..User::new("bob", bcrypt::hash("hidden", 4).unwrap())
                },
            ],
            nkeys: vec![NkeyUser::new(keys.public_key())],
            ..options()
        })
        .unwrap();
        let login = |name: &str, password: &str| {
            with(at(users.addr()), json!({ "user": name, "password": password, "pass": password }))
        };
        let nkey = |keys: &KeyPair| with(at(users.addr()), json!({ "nkeys_seed_str": keys.seed() }));
        let scenes = [
            ("refused", at(token.addr())),
            ("refused", with(at(token.addr()), json!({ "token": "guess" }))),
            ("talk", with(at(token.addr()), json!({ "token": "s3cret" }))),
            ("refused", login("ann", "guess")),
            ("talk", login("ann", "p4ss")),
            ("permissions", login("bob", "hidden")),
            ("refused", nkey(&key(Role::User))),
            ("talk", nkey(&keys)),
        ];
        client.play(&scenes, never);
    }
}

#[test]
fn servers_come_and_go() {
    for client in clients() {
        let name = format!("going-{}", client.script);
        let mut program = Some(Program::start(&name, "debug: true", &[]));
        let addr = program.as_ref().unwrap().open().stream.peer_addr().unwrap();
        let library = Server::start(options()).unwrap();
        let other = "127.0.0.1:14222";
        let scenes = [
            ("restart", at(addr)),
            ("lame_duck", at(addr)),
            ("discovered", with(at(library.addr()), json!({ "other": other }))),
        ];
        client.play(&scenes, |what| match what {
            "restart" => {
                drop(program.take());
                let port = addr.port().to_string();
                program = Some(Program::start(&name, "debug: true", &["-p", &port]));
            }
            "lame duck" => program.as_ref().unwrap().signal("ldm"),
            "announce" => library.set_connect_urls(vec![library.addr().to_string(), other.to_owned()]),
            other => never(other),
        });
    }
}

/// Servers that encrypt and trust an operator, and what their clients need.
struct Guarded {
    certs: Certs,
    world: World,
    folder: tempfile::TempDir,
}

impl Guarded {
    fn new() -> Guarded {
        let certs = Certs::new();
        certs.client("known", None);
        Guarded { certs, world: World::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// A file with credentials of a new user.
    fn creds(&self, name: &str, expires: Option<i64>) -> PathBuf {
        let user = self.world.user(&self.world.account, |claims| claims.exp = expires.unwrap_or_default());
        let path = self.folder.path().join(name);
        std::fs::write(&path, Creds::new(user.jwt, user.keys).unwrap().to_text()).unwrap();
        path
    }

    fn tls(&self) -> TlsOptions {
        TlsOptions::new(self.certs.path("server.pem"), self.certs.path("server.key"))
    }

    fn mutual_tls(&self) -> TlsOptions {
        TlsOptions { ca_file: Some(self.certs.path("ca.pem")), verify: true, ..self.tls() }
    }

    fn serve(&self, tls: TlsOptions) -> Server {
        let web = WebSocketOptions {
            host: "127.0.0.1".into(),
            port: 0,
            tls: Some(self.tls()),
            ..WebSocketOptions::default()
        };
        Server::start(Options { tls: Some(tls), websocket: Some(web), ..self.world.options() }).unwrap()
    }

    /// The same in a file.
    fn config(&self) -> String {
        let path = |name: &str| self.certs.path(name).display().to_string();
        let accounts = self.world.resolver.iter().map(|(key, jwt)| format!("  {key}: {jwt}\n"));
        format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload {{\n{}}}\ntls {{ cert_file: \"{}\", key_file: \"{}\", \
             ca_file: \"{}\", verify: true }}\n",
            self.world.operator_jwt,
            accounts.collect::<String>(),
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
        )
    }

    /// Settings of a client.
    fn to(&self, scheme: &str, addr: SocketAddr, creds: &Path) -> Value {
        let url = format!("{scheme}://localhost:{}", addr.port());
        json!({ "url": url, "ca": self.certs.path("ca.pem"), "user_credentials": creds })
    }

    /// Those of a client with a certificate.
    fn certified_to(&self, addr: SocketAddr, creds: &Path) -> Value {
        let (cert, key) = (self.certs.path("known.pem"), self.certs.path("known.key"));
        with(self.to("tls", addr, creds), json!({ "cert": cert, "key": key }))
    }
}

#[test]
fn encrypted_with_documents_of_an_operator() {
    for client in clients() {
        let guarded = Guarded::new();
        let ordinary = guarded.serve(guarded.tls());
        let mutual = guarded.serve(guarded.mutual_tls());
        let handshake_first = HandshakeFirst::Always;
        let first = guarded.serve(TlsOptions { handshake_first, ..guarded.mutual_tls() });
        let program = Program::start(&format!("guarded-{}", client.script), &guarded.config(), &[]);
        let program_addr = program.open().stream.peer_addr().unwrap();
        let good = guarded.creds("good.creds", None);
        let old = guarded.creds("old.creds", Some(now() - 1));
        let at_first = json!({ "tls_handshake_first": true });
        let scenes = [
            ("talk", guarded.to("tls", ordinary.addr(), &good)),
            ("talk", guarded.certified_to(mutual.addr(), &good)),
            ("talk", guarded.certified_to(program_addr, &good)),
            ("talk", with(guarded.certified_to(first.addr(), &good), at_first)),
            ("talk", guarded.to("wss", ordinary.websocket_addr().unwrap(), &good)),
            ("refused", guarded.to("tls", ordinary.addr(), &old)),
            ("expired", guarded.to("tls", ordinary.addr(), &guarded.folder.path().join("short.creds"))),
        ];
        client.play(&scenes, |what| {
            assert_eq!(what, "short credentials");
            guarded.creds("short.creds", Some(now() + 3));
        });
        assert_eq!(
            ordinary.stats().tls_failures + mutual.stats().tls_failures + first.stats().tls_failures,
            0
        );
    }
}

/// The Rust client needs no tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_nats_encrypted_with_documents_of_an_operator() {
    let guarded = Guarded::new();
    let server = guarded.serve(guarded.mutual_tls());
    let url = format!("tls://localhost:{}", server.addr().port());
    let connect = async |creds: PathBuf| {
        async_nats::ConnectOptions::with_credentials_file(creds)
            .await
            .unwrap()
            .add_root_certificates(guarded.certs.path("ca.pem"))
            .add_client_certificate(guarded.certs.path("known.pem"), guarded.certs.path("known.key"))
            .connect(&url)
            .await
    };
    let client = connect(guarded.creds("good.creds", None)).await.unwrap();
    let mut sub = client.subscribe("a.*").await.unwrap();
    client.publish("a.b", "hello".into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("a.b", &b"hello"[..]));
    let refused = connect(guarded.creds("old.creds", Some(now() - 1))).await.unwrap_err();
    assert_eq!(refused.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}
