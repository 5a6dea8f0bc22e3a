//! Configuration files: what the reference server named by `NATS_SERVER_BIN` accepts and refuses, this one does too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bacalhau_nats_server::conf;

/// Files on which both must agree.
const SAME: &[&str] = &[
    // The format.
    "port: 4222",
    "port = 4222",
    "port 4222",
    "port\n4222",
    "port:\n4222",
    "port: 1; host: x, debug: true",
    "port: 1 host: x",
    "{port: 1}",
    "{\n  \"port\": 1,\n  \"host\": \"x\"\n}\n",
    "port: 1\n}",
    "{port: 1",
    "",
    "# nothing",
    "port",
    ":",
    "port: 1 # a\n// b\nhost: x // c",
    "host: 'a",
    "host: \"a\\n\\x41\"",
    "host: \"\\q\"",
    "host: a\\x41",
    "host: (\na\n)\n",
    "host: (a)",
    "PORT: 1",
    "port: 1\r\nhost: x\r\n",
    "server_tags: [a, b,\n c\n d # x\n]",
    "server_tags: [,]",
    "server_tags: [a b]",
    "server_tags: [a",
    "authorization {user: a, password: b,}",
    "authorization {user: a; password: b;}",
    "authorization {\n user a\n password b }",
    "authorization {user: a password: b}",
    "authorization {user: a, password: b",
    "authorization {:1}",
    "authorization {]}",
    // Variables and includes.
    "X: 5\nport: $X",
    "port: $X\nX: 5",
    "port: $THERE_IS_NO_SUCH_VARIABLE",
    "X: 5\nport: 1",
    "authorization { X: a, user: $X }",
    "a { X: 1 }\nport: $X",
    "include 'included.conf'",
    "include included.conf\nhttp: $port",
    "INCLUDE \"included.conf\" # x",
    "include nofile.conf",
    "include: included.conf",
    "authorization { include users.conf }",
    // Kinds of values.
    "port: x",
    "port: \"1\"",
    "port: 1.5",
    "port: {}",
    "port: -1",
    "port: 9223372036854775808",
    "debug: 1",
    "debug: oN",
    "host: 1",
    "host: 1.2.3.4",
    "max_payload: 1kib",
    "max_payload: 1mb",
    "max_payload: 1tb",
    "max_payload: 1x",
    "foo: 1",
    "foo = 2022-01-01T00:00:00Z",
    // Addresses.
    "listen: 4222",
    "listen: \":4222\"",
    "listen: 127.0.0.1:4222",
    "listen: \"[::1]:-1\"",
    "listen: \"::1:4222\"",
    "listen: localhost",
    "listen: \"a:b\"",
    "listen: 1.5",
    "http: 8222",
    "http: \"a:8222\"",
    "monitor_port: \"8222\"",
    "http_base_path: nats",
    "client_advertise: \"a:1\"",
    "server_name: \"a b\"",
    "server_name: a",
    "server_name: 5",
    // Limits.
    "max_control_line: 4k",
    "max_conn: -1",
    "max_subs: 3",
    "ping_max: 0",
    "ping_interval: \"10s\"",
    "ping_interval: 10s",
    "ping_interval: \"5x\"",
    "ping_interval: 2m",
    "write_deadline: true",
    "lame_duck_duration: \"30s\"",
    "lame_duck_duration: \"1s\"",
    "lame_duck_duration: 60",
    "lame_duck_grace_period: \"-1s\"",
    "lame_duck_grace_period: \"0s\"",
    // The program.
    "log_file: a; pid_file: b; ports_file_dir: c",
    "logfile: a; pidfile: b",
    "logtime: true, logtime_utc: true, log_size_limit: 1mb, prof_port: 1, max_traced_msg_len: 5",
    "logtime: x",
    "trace: on",
    // Users.
    "authorization { user: a }",
    "authorization { user: 5, password: 6 }",
    "authorization { token: a }",
    "authorization { token: 5 }",
    "authorization { token: a, user: b, password: c }",
    "authorization { token: x, users [{user: z, password: y}] }",
    "authorization { user: a, password: b, users: [] }",
    "authorization { timeout: \"2s\" }",
    "authorization { timeout: 0.5 }",
    "authorization { timeout: x }",
    "authorization { timeout: true }",
    "authorization { x: 1 }",
    "authorization { nkeys: [] }",
    "authorization: x",
    "authorization { users: [] }",
    "authorization { users: {user: a} }",
    "authorization { users: [{user: a}] }",
    "authorization { users: [{user: \"\"}] }",
    "authorization { users: [{}] }",
    "authorization { users: [{user: a, password: $2a$10$abc}] }",
    "authorization { users: [{user: a, password: 5}] }",
    "authorization { users: [{user: a, password: b, x: 1}] }",
    "authorization { users: [{user: a, password: b}, {user: a, password: c}] }",
    "authorization { users: [{user: a, password: b, proxy_required: false}] }",
    "authorization { users: [{nkey: UDAMAGED}] }",
    "authorization { users: [{nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4}] }",
    "authorization { users: [{nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4, password: x}] }",
    "no_auth_user: x",
    // Permissions.
    "P: {pub: a}\nauthorization { default_permissions: $P, users: [{user: a, permissions: $P}] }",
    "authorization { users: [{user: a, permissions: {publish: \"a.*\", subscribe: [a, \"b.>\"]}}] }",
    "authorization { users: [{user: a, permissions: {import: a, export: b}}] }",
    "authorization { users: [{user: a, permissions: {pub: {allow: a, deny: [b]}, sub: {deny: x}}}] }",
    "authorization { users: [{user: a, permissions: {pub: \"a b\"}}] }",
    "authorization { users: [{user: a, permissions: {sub: \"a b\"}}] }",
    "authorization { users: [{user: a, permissions: {sub: \"a b c\"}}] }",
    "authorization { users: [{user: a, permissions: {pub: {allow: \"a..b\"}}}] }",
    "authorization { users: [{user: a, permissions: {pub: {foo: a}}}] }",
    "authorization { users: [{user: a, permissions: {pub: 5}}] }",
    "authorization { users: [{user: a, permissions: {foo: a}}] }",
    "authorization { users: [{user: a, permissions: {}}] }",
    "authorization { users: [{user: a, permissions: x}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: true}}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: {max: 5, expires: \"1m\"}}}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: {max: -1, ttl: \"-1s\"}}}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: {max: x}}}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: {x: 1}}}] }",
    "authorization { users: [{user: a, permissions: {allow_responses: 5 }}] }",
    // Accounts.
    "accounts { A { users: [{user: x, password: y}] } }",
    "accounts { A: {} }",
    "accounts { A: 5 }",
    "accounts [A, B]",
    "accounts [A, A]",
    "accounts { $G: {} }",
    "accounts { A { foo: 1 } }",
    "accounts { A { nkeys: [] } }",
    "accounts { A { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } }",
    "accounts { A { default_permissions: {pub: x}, users: [{user: x, password: y}] } }",
    "accounts { A { users: [{user: x}] }, B { users: [{user: x}] } }",
    "accounts { A { users: [{user: x}] } }\nauthorization { users: [{user: y}] }",
    "accounts { A { users: [{user: x}] } }\nauthorization { users: [{user: x}] }",
    "accounts { A { users: [{user: x}] } }\nauthorization { user: a, password: b }",
    "accounts { A { jetstream: disabled } }",
    "accounts { SYS {} }\nsystem_account: SYS",
    "accounts {\n  acme {\n    users [\n      {\n nkey = \"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4\",\n\t permissions = {\n \
     subscribe = {\n allow = [\"help\", \"_INBOX.>\"]\n deny = [\"foo\"]\n }\n }\n }\n ]\n }\n}\n",
    // TLS and WebSockets.
    "websocket\n{\n    port: 8080\n    no_tls: true\n}\n",
    "tls { foo: 1 }",
    "tls { cert_file: nofile, key_file: nofile }",
    "tls: 5",
    "tls { handshake_first: x }",
    "allow_non_tls: true",
    "websocket { port: 80, no_tls: true }",
    "websocket { listen: \"1.2.3.4:80\", no_tls: true, allowed_origins: [\"https://x\"], same_origin: true }",
    "ws { port: 80, no_tls: true, handshake_timeout: \"2s\", compression: true }",
    "websocket { no_tls: true }",
    "websocket { port: 80, no_tls: true, x: 1 }",
    "websocket { port: 80, no_tls: true, handshake_timeout: x }",
    "websocket: 5",
    // Operators.
    "operator: nofile",
    "operator: 5",
    "resolver: MEMORY",
    "resolver: mem",
    "resolver: x",
    "resolver_preload: {A: b}",
    "resolver_preload: 5",
    // Features that are switched off, and those that the server starts without.
    "jetstream: enabled",
    "jetstream { store_dir: x, max_mem_store: 1MB }",
    "leafnodes { port: -1 }",
    "leafnodes {\n   listen: \"127.0.0.1:-1\"\n }",
    "server_tags [\n  id:XSN5\n ]",
    "no_header_support: true",
    "jetstream: false",
    "jetstream: disabled",
    "syslog: false",
    "max_sub_tokens: 5",
    "max_subscription_tokens: \"5\"",
    "authorization { users: [{user: a, allowed_connection_types: [STANDARD, \"websocket\"]}] }",
    "authorization { users: [{user: a, password: b, connection_types: [MQTT, LEAFNODE, IN_PROCESS]}] }",
    "authorization { users: [{user: a, allowed_connection_types: [PIGEON]}] }",
    "authorization {\n PASS: $2a$04$gkfSC1btCPp0ZRVLlGsgO.ileuUJk6Vp/gJZKn./0yZsGuh98sj3O\n ADMIN = {publish = \">\"}\n \
     users = [{user: a, password: $PASS, permissions: $ADMIN}]\n}",
    "accounts { A { users: [{user: a, password: b}] } }\nauthorization { pass: x }",
    "authorization { users: [{user: a, allowed_connection_types: []}] }",
    "authorization { users: [{user: a, allowed_connection_types: STANDARD}] }",
    "authorization { users: [{user: a, allowed_connection_types: [5]}] }",
];

/// Files that only the reference accepts: features that are not here, and what is better said at once.
const STRICTER: &[&str] = &[
    "port: 70000",
    "max_pending: -1",
    "authorization { password: x }",
    "authorization { users: [{user: a, permissions: {pub: []}}] }",
    "accounts: 5",
    "accounts { A { exports: [{stream: a}] } }",
    "system_account: X",
    "tls {}",
    "websocket { port: 80 }",
    "https: 8222",
    "cluster { port: -1 }",
    "leafnodes { remotes: [{url: \"nats://a:1\"}] }",
];

/// Files that only this server accepts.
const KINDER: &[&str] = &[
    "prof_port: 1, server_tags: [\"a\", 1x]\nauthorization{user: a, password: b}",
    // There it is accepted at start, with a warning.
    "ping_interval: 5",
    "authorization { user: a, password: -x }",
    "authorization { user: a, password: $2b$10$abc }",
];

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("nats-conf-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("included.conf"), "port: 5").unwrap();
        std::fs::write(path.join("users.conf"), "users: [{user: a, password: b}]").unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the reference says against a file.
fn reference(binary: &str, path: &Path) -> Result<(), String> {
    let output = Command::new(binary).arg("-t").arg("-c").arg(path).stdin(Stdio::null()).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_reference_server_agrees_about_files() {
    let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return;
    };
    let folder = Folder::new();
    let path = folder.0.join("test.conf");
    let mut disputes = String::new();
    let expectations = [(SAME, None), (STRICTER, Some((false, true))), (KINDER, Some((true, false)))];
    for (files, expected) in expectations {
        for text in files {
            std::fs::write(&path, text).unwrap();
            let ours = conf::load(&path).map(drop).map_err(|error| error.to_string());
            let theirs = reference(&binary, &path);
            let good = match expected {
                None => ours.is_ok() == theirs.is_ok(),
                Some(expected) => (ours.is_ok(), theirs.is_ok()) == expected,
            };
            if !good {
                disputes.push_str(&format!("{text:?}\n  ours: {ours:?}\n  theirs: {theirs:?}\n"));
            }
        }
    }
    assert!(disputes.is_empty(), "\n{disputes}");
}
