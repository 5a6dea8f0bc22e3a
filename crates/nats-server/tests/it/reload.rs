//! The configuration changes while clients are connected: the same for this server and for the reference server named by
//! `NATS_SERVER_BIN`, both as programs with the same file.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bacalhau_nats_server::jwt::{KeyPair, Role};

use crate::support::{Raw, eventually};
use crate::users::log_in_at;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_nats-server");
/// Users a and b, in no account.
const USERS: &str = "authorization { users: [{user: a, password: p}, {user: b, password: q}] }";
/// The same in accounts of their own.
const ACCOUNTS: &str =
    "accounts { A { users: [{user: a, password: p}] }, B { users: [{user: b, password: q}] } }";
const A: &str = r#"{"verbose":false,"protocol":1,"user":"a","pass":"p"}"#;
const B: &str = r#"{"verbose":false,"protocol":1,"user":"b","pass":"q"}"#;
const NOBODY: &str = r#"{"verbose":false,"protocol":1}"#;

/// A server as a program, with a configuration file in a folder of its own; both end with this value.
pub(crate) struct Program {
    child: Child,
    folder: tempfile::TempDir,
}

impl Program {
    pub(crate) fn start(binary: &str, config: &str) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let config_file = folder.path().join("c.conf");
        std::fs::write(&config_file, whole(config)).unwrap();
        let child = Command::new(binary)
            .current_dir(folder.path())
            .args(["-c", "c.conf", "-l", "log", "--ports_file_dir", "."])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Program { child, folder };
        // The reference does not write it at once.
        eventually("ports file", || ports(program.folder.path(), &program.child).is_some());
        program
    }

    pub(crate) fn addr(&self, kind: &str) -> SocketAddr {
        self.url(kind).split_once("://").unwrap().1.parse().unwrap()
    }

    /// As the file with its ports has it.
    pub(crate) fn url(&self, kind: &str) -> String {
        let ports = ports(self.folder.path(), &self.child).unwrap();
        ports[kind][0].as_str().unwrap().to_owned()
    }

    pub(crate) fn client(&self, connect: &str) -> Raw {
        Raw::connected(self.addr("nats"), connect)
    }

    /// What it has logged.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Replaces the file and lets the server read it. What it logs about that.
    pub(crate) fn reload(&self, config: &str) -> String {
        std::fs::write(self.folder.path().join("c.conf"), whole(config)).unwrap();
        let before = self.log().len();
        let status = Command::new(PROGRAM)
            .arg("--signal")
            .arg(format!("reload={}", self.child.id()))
            .status()
            .unwrap();
        assert!(status.success());
        let mut said = String::new();
        eventually("an answer to reload", || {
            said = self.log().split_off(before);
            said.contains("Reloaded server configuration") || said.contains("Failed to reload")
        });
        said
    }

    /// A document of monitoring.
    fn monitoring(&self, path: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(self.addr("monitoring")).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Why connections ended, in the order in which they had come.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let closed = self.monitoring("/connz?state=closed");
        let mut closed: Vec<(u64, String)> = closed["connections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["cid"].as_u64().unwrap(), row["reason"].as_str().unwrap().to_owned()))
            .collect();
        closed.sort();
        closed.into_iter().map(|(_, reason)| reason).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ports of a server that was told to write them into this folder, once they are all there.
pub(crate) fn ports(folder: &Path, child: &Child) -> Option<serde_json::Value> {
    let file = folder.join(format!("nats-server_{}.ports", child.id()));
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Any ports, on loopback.
fn whole(config: &str) -> String {
    format!("host: 127.0.0.1\nport: -1\nhttp: \"127.0.0.1:-1\"\n{config}\n")
}

/// This server, and the reference if there is one.
pub(crate) fn binaries() -> Vec<String> {
    let reference = std::env::var("NATS_SERVER_BIN");
    if reference.is_err() {
        println!("skipped in part: NATS_SERVER_BIN names no reference server");
    }
    std::iter::once(PROGRAM.to_owned()).chain(reference).collect()
}

/// A client of a case: how it connects, what it sends before, and what it must be told because of the reload.
struct Client {
    connect: &'static str,
    sends: &'static str,
    told: &'static str,
}

fn client(connect: &'static str, sends: &'static str, told: &'static str) -> Client {
    Client { connect, sends, told }
}

/// What a client of a case is told if it stays, and nothing else happens.
const STAYS: &str = "PONG\r\n";
const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

/// Lines in any order: the reference goes through subscriptions in none.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Plays a case against all servers.
fn play(name: &str, before: &str, after: &str, clients: &[Client], reasons: &[&str]) {
    for binary in binaries() {
        let program = Program::start(&binary, before);
        let mut open: Vec<Raw> = clients
            .iter()
            .map(|client| {
                let mut raw = program.client(client.connect);
                // The answer to the first PING of a client with protocol 1 is followed by an INFO.
                raw.until("INFO");
                raw.until("\r\n");
                raw.send(format!("{}PING\r\n", client.sends));
                raw.until("PONG\r\n");
                raw
            })
            .collect();
        let said = program.reload(after);
        assert!(said.contains("Reloaded server configuration"), "{name} {binary}: {said}");
        for (raw, client) in open.iter_mut().zip(clients) {
            raw.send("PING\r\n");
            let told = match client.told.ends_with(STAYS) {
                true => raw.until(STAYS),
                false => raw.rest(),
            };
            assert_eq!(sorted(&told), sorted(client.told), "{name} {binary}");
        }
        eventually("closed connections are listed", || program.reasons().len() >= reasons.len());
        assert_eq!(program.reasons(), reasons, "{name} {binary}");
    }
}

#[test]
fn users_go_and_passwords_change() {
    let gone = "authorization { users: [{user: b, password: q}] }";
    play("user gone", USERS, gone, &[client(A, "", ""), client(B, "", STAYS)], &["Client Closed"]);
    let other = USERS.replace("password: p", "password: p2");
    let clients = [client(A, "", VIOLATION), client(B, "", STAYS)];
    play("password", USERS, &other, &clients, &["Authentication Failure"]);
    play("nothing", USERS, USERS, &[client(A, "", STAYS), client(B, "", STAYS)], &[]);
    let hash = bcrypt::hash("p", 4).unwrap();
    let hashed = USERS.replace("password: p", &format!("password: \"{hash}\""));
    play("a hash of the password", USERS, &hashed, &[client(A, "", STAYS)], &[]);
    play("users come", "", USERS, &[client(NOBODY, "", VIOLATION)], &["Authentication Failure"]);
    play("users go", USERS, "", &[client(A, "", "")], &["Client Closed"]);
}

#[test]
fn tokens_change() {
    let token = |token: &str| format!("authorization {{ token: {token} }}");
    let with = r#"{"verbose":false,"protocol":1,"auth_token":"t"}"#;
    let reasons = ["Authentication Failure"];
    play("another token", &token("t"), &token("u"), &[client(with, "", VIOLATION)], &reasons);
    play("the same token", &token("t"), &token("t"), &[client(with, "", STAYS)], &[]);
    play("no token any more", &token("t"), "", &[client(with, "", STAYS)], &[]);
}

#[test]
fn permissions_are_narrowed_and_widened() {
    let with = |rules: &str| format!("authorization {{ users: [{{user: a, password: p{rules}}}] }}");
    let only =
        |subjects: &str| with(&format!(", permissions: {{publish: [{subjects}], subscribe: [{subjects}]}}"));
    let subscribes = "SUB foo.1 1\r\nSUB bar 2\r\nSUB bar qq 3\r\nSUB foo.> 4\r\n";
    let lost = "-ERR 'Permissions Violation for Subscription to \"bar\" (sid \"2\")'\r\n\
                -ERR 'Permissions Violation for Subscription to \"bar\" using queue \"qq\" (sid \"3\")'\r\nPONG\r\n";
    play("narrowed", &only("\"foo.>\", bar"), &only("\"foo.>\""), &[client(A, subscribes, lost)], &[]);
    let more = only("\"foo.>\", bar, baz");
    play("widened", &only("\"foo.>\", bar"), &more, &[client(A, subscribes, STAYS)], &[]);
    play("without", &only("\"foo.>\", bar"), &with(""), &[client(A, subscribes, STAYS)], &[]);
    let lost = "-ERR 'Permissions Violation for Subscription to \"foo.1\" (sid \"1\")'\r\nPONG\r\n";
    let denied = with(", permissions: {subscribe: {deny: foo.1}}");
    play("denied", &with(""), &denied, &[client(A, "SUB foo.1 1\r\nSUB foo.> 2\r\n", lost)], &[]);
    let defaults = "authorization { default_permissions: {subscribe: x}, users: [{user: a, password: p}] }";
    play("defaults", &with(""), defaults, &[client(A, "SUB foo.1 1\r\nSUB x 2\r\n", lost)], &[]);
}

#[test]
fn what_was_narrowed_is_kept_and_what_was_widened_can_be_used() {
    let only = |subjects: &str| {
        format!(
            "authorization {{ users: [{{user: a, password: p, permissions: {{publish: [{subjects}], subscribe: [{subjects}]}}}}] }}"
        )
    };
    for binary in binaries() {
        let program = Program::start(&binary, &only("foo, bar"));
        let mut raw = program.client(A);
        raw.send("SUB foo 1\r\nUNSUB 1 2\r\nSUB bar 2\r\nPUB foo 0\r\n\r\nPING\r\n");
        raw.until("MSG foo 1 0\r\n\r\nPONG\r\n");
        program.reload(&only("foo, baz"));
        raw.send("SUB baz 3\r\nPUB bar 0\r\n\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\nPUB baz 0\r\n\r\nPING\r\n");
        let said = raw.until("PONG\r\n");
        let expected = "-ERR 'Permissions Violation for Subscription to \"bar\" (sid \"2\")'\r\n\
                        -ERR 'Permissions Violation for Publish to \"bar\"'\r\n\
                        MSG foo 1 0\r\n\r\nMSG baz 3 0\r\n\r\nPONG\r\n";
        assert_eq!(said, expected, "{binary}");
    }
}

#[test]
fn users_move_between_accounts() {
    let sub = "SUB x 1\r\n";
    let moved = "accounts { B { users: [{user: b, password: q}, {user: a, password: p}] }, A {} }";
    let clients = [client(A, sub, ""), client(B, sub, STAYS)];
    play("moved", ACCOUNTS, moved, &clients, &["Client Closed"]);
    play("renamed", ACCOUNTS, &ACCOUNTS.replace("A {", "C {"), &clients, &["Client Closed"]);
    let users = "authorization { users: [{user: a, password: p}] }";
    play("into an account", users, ACCOUNTS, &[client(A, sub, "")], &["Client Closed"]);
    let turned = "accounts { B { users: [{user: b, password: q}] }, X { users: [{user: x, password: x}] }, \
                  A { users: [{user: a, password: p}] } }";
    play("in another order", ACCOUNTS, turned, &[client(A, sub, STAYS), client(B, sub, STAYS)], &[]);
    let nobody = |accounts: &str| format!("{accounts}\nno_auth_user: a");
    let narrow = ACCOUNTS.replace("password: p", "password: p, permissions: {subscribe: y}");
    let lost = "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'\r\nPONG\r\n";
    play("without credentials", &nobody(ACCOUNTS), &nobody(&narrow), &[client(NOBODY, sub, lost)], &[]);
}

#[test]
fn accounts_stay_apart_when_they_change_places() {
    for binary in binaries() {
        let program = Program::start(&binary, ACCOUNTS);
        let (mut a, mut b) = (program.client(A), program.client(B));
        for raw in [&mut a, &mut b] {
            raw.send("SUB x 1\r\nPING\r\n");
            raw.until("PONG\r\n");
        }
        let accounts = "accounts { N { users: [{user: n, password: n}] }, B { users: [{user: b, password: q}] }, \
                        A { users: [{user: a, password: p}] } }";
        program.reload(accounts);
        let mut n = program.client(r#"{"verbose":false,"user":"n","pass":"n"}"#);
        n.send("SUB x 1\r\nPUB x 1\r\nn\r\nPING\r\n");
        assert_eq!(n.until("PONG\r\n"), "MSG x 1 1\r\nn\r\nPONG\r\n", "{binary}");
        for (raw, text) in [(&mut a, "a"), (&mut b, "b")] {
            raw.send(format!("PUB x 1\r\n{text}\r\nPING\r\n"));
            let heard = raw.until("PONG\r\n");
            assert!(heard.ends_with(&format!("MSG x 1 1\r\n{text}\r\nPONG\r\n")), "{binary}: {heard}");
            assert_eq!(heard.matches("MSG").count(), 1, "{binary}: {heard}");
        }
    }
}

#[test]
fn users_with_nkeys() {
    let keys = [(); 3].map(|()| KeyPair::generate(Role::User).unwrap());
    let [gone, narrowed, same] = &keys;
    let with = |users: &[(&KeyPair, &str)]| {
        let user = |(key, rules): &(&KeyPair, &str)| format!("{{nkey: {}{rules}}}", key.public_key());
        format!("authorization {{ users: [{}] }}", users.iter().map(user).collect::<Vec<_>>().join(", "))
    };
    for binary in binaries() {
        let program = Program::start(&binary, &with(&[(gone, ""), (narrowed, ""), (same, "")]));
        let mut open = keys.each_ref().map(|key| {
            let (mut raw, said) = log_in_at(program.addr("nats"), key);
            assert_eq!(said, "PONG\r\n", "{binary}");
            raw.send("SUB x 1\r\nPING\r\n");
            raw.until("PONG\r\n");
            raw
        });
        program.reload(&with(&[(same, ""), (narrowed, ", permissions: {subscribe: y}")]));
        let lost = "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'\r\nPONG\r\n";
        for (raw, told) in open.iter_mut().zip(["", lost, STAYS]) {
            raw.send("PING\r\n");
            let _ = raw.stream.shutdown(std::net::Shutdown::Write);
            assert_eq!(raw.rest(), told, "{binary}");
        }
        assert_eq!(log_in_at(program.addr("nats"), gone).1, VIOLATION, "{binary}");
    }
}

#[test]
fn limits_change() {
    // Nobody is told.
    play("limits", "", "max_payload: 100\nmax_control_line: 512", &[client(NOBODY, "", STAYS)], &[]);

    for binary in binaries() {
        let program = Program::start(&binary, "");
        let (mut small, mut long) = (program.client(NOBODY), program.client(NOBODY));
        let before = program.monitoring("/varz");
        let said = program.reload("max_payload: 100\nmax_control_line: 512\nping_interval: 17\nping_max: 3");
        for line in ["max_payload = 100", "max_control_line = 512", "ping_interval = 17s", "ping_max = 3"] {
            assert!(said.contains(&format!("[INF] Reloaded: {line}")), "{binary}: {said}");
        }
        let after = program.monitoring("/varz");
        let (max_payload, load) = ("max_payload", "config_load_time");
        assert_eq!((&after[max_payload], &after["ping_max"]), (&100.into(), &3.into()), "{binary}");
        assert!(before[load] != after[load] && before["start"] == after["start"], "{binary}");
        small.send("PUB a 101\r\n");
        assert!(small.rest().ends_with("-ERR 'Maximum Payload Violation'\r\n"), "{binary}");
        long.send(format!("SUB {} 1\r\nPING\r\n", "a".repeat(600)));
        assert!(long.rest().ends_with("-ERR 'maximum control line exceeded'\r\n"), "{binary}");
        let mut new = Raw::open(program.addr("nats"));
        assert!(new.until("\r\n").contains("\"max_payload\":100,"), "{binary}");
    }
}

#[test]
fn fewer_connections() {
    for binary in binaries() {
        let program = Program::start(&binary, "");
        let mut open: Vec<Raw> = (0..4).map(|_| program.client(NOBODY)).collect();
        program.reload("max_connections: 2");
        let mut closed = 0;
        for raw in &mut open {
            raw.send("PING\r\n");
            // Those that stay say PONG; the others end.
            let _ = raw.stream.shutdown(std::net::Shutdown::Write);
            let told = raw.rest();
            let told = told.rsplit_once("INFO").map_or("", |(_, told)| told.split_once("\r\n").unwrap().1);
            if told == "-ERR 'maximum connections exceeded'\r\n" {
                closed += 1;
            } else {
                assert_eq!(told, "PONG\r\n", "{binary}");
            }
        }
        assert_eq!(closed, 2, "{binary}");
        let reason = "Maximum Connections Exceeded";
        eventually("closed connections are listed", || program.reasons().len() >= 4);
        assert_eq!(program.reasons().iter().filter(|known| *known == reason).count(), 2, "{binary}");
    }
}

#[test]
fn what_cannot_change_is_refused_and_nothing_changes() {
    // What the file says before and after, the field in our words and in those of the reference.
    let cases = [
        ("", "server_name: other", "server_name", "ServerName"),
        ("", "max_pending: 30000000", "max_pending", "MaxPending"),
        ("", "max_subscriptions: 5", "max_subscriptions", "MaxSubs"),
        ("", "lame_duck_duration: 40s", "lame_duck_duration", "LameDuckDuration"),
        ("", "lame_duck_grace_period: 3s", "lame_duck_grace_period", "LameDuckGracePeriod"),
        (ACCOUNTS, "no_auth_user: a", "no_auth_user", "NoAuthUser"),
        ("", "websocket { host: 127.0.0.1, port: 1, no_tls: true }", "websocket", "Websocket"),
        ("", "http_base_path: x", "monitor", "HTTPBasePath"),
        ("", "host: 127.0.0.2", "host", "Host"),
    ];
    for binary in binaries() {
        for (before, more, ours, theirs) in cases {
            let program = Program::start(&binary, before);
            let connect = if before.is_empty() { NOBODY } else { A };
            let mut raw = program.client(connect);
            let said = program.reload(&format!("{before}\nmax_payload: 100\n{more}"));
            let field = if binary == PROGRAM { ours } else { theirs };
            let expected = format!(
                "[ERR] Failed to reload server configuration: config reload not supported for {field}: old="
            );
            assert!(said.contains(&expected) && !said.contains("Reloaded"), "{binary}: {said}");
            raw.send("PUB a 101\r\n");
            raw.send(format!("{}\r\nPING\r\n", "x".repeat(101)));
            raw.until("PONG\r\n");
            assert_eq!(program.monitoring("/varz")["max_payload"], 1_048_576, "{binary}");
        }
        for broken in ["foo bar {", "max_payload: \"x\"", "there_is_no_such_field: 3"] {
            let program = Program::start(&binary, "");
            let said = program.reload(&format!("max_connections: 1\n{broken}"));
            assert!(said.contains("[ERR] Failed to reload server configuration: "), "{binary}: {said}");
            assert_eq!(program.monitoring("/varz")["max_connections"], 65_536, "{binary}");
        }
    }
}

#[test]
fn the_log_follows() {
    for binary in binaries() {
        let program = Program::start(&binary, "debug: false");
        let said = program.reload("debug: true\npid_file: pid");
        assert!(said.contains("[INF] Reloaded: debug = true"), "{binary}: {said}");
        assert!(said.contains("[INF] Reloaded: pid_file = pid"), "{binary}: {said}");
        assert!(program.folder.path().join("pid").exists(), "{binary}");
        drop(program.client(NOBODY));
        eventually("a line for debugging", || program.log().contains("[DBG]"));
        program.reload("debug: false\npid_file: pid2");
        let before = program.log().len();
        let mut last = program.client(NOBODY);
        last.send("PING\r\n");
        last.until("PONG\r\n");
        assert!(!program.log().split_off(before).contains("[DBG]"), "{binary}");
        assert!(program.folder.path().join("pid2").exists(), "{binary}");
    }
}
