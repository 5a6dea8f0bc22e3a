//! Whole configurations: what they set, what is refused and in which words, and that nothing makes the parser panic.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::error::{ConfError, Place};
use super::value::{Map, Node, Value};
use super::{ServerConfig, load, parse, read};
use crate::options::{Advertise, HandshakeFirst};
use crate::users::Rules;

const USER_KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "77",
        "TEXT" => "\"a b\"",
        "MAP" => "{user: a, password: b}",
        "EMPTY" => "",
        "NESTED" => "$PORT",
        "CYCLE" => "$CYCLE",
        "BAD" => "a b",
        _ => return None,
    };
    Some(value.to_owned())
}

fn tree(text: &str) -> Result<Map, ConfError> {
    parse::text(text, Path::new("c.conf"), &environment)
}

fn config(text: &str) -> Result<ServerConfig, ConfError> {
    read::config(&tree(text)?)
}

fn good(text: &str) -> ServerConfig {
    config(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn bad(text: &str) -> String {
    match config(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn limits_and_addresses() {
    let all = good(
        r#"
        # all of them
        listen: "127.0.0.1:-1"   // any port
        http = 8222; http_base_path "nats/"
        server_name: n1, client_advertise: example.org
        max_payload: 2MB
        MAX_PENDING 32mib
        max_control_line 8k
        max_connections: -1
        max_subs: 10
        ping_interval: "20s"
        ping_max: 3
        write_deadline: 1500ms
        lame_duck_duration: "1m", lame_duck_grace_period: 3s
        log_file: /tmp/l; pidfile: p; ports_file_dir: "d"
        debug: yes
        logtime: off
        prof_port: 6060
        "#,
    );
    let options = &all.options;
    assert_eq!((options.host.as_str(), options.port), ("127.0.0.1", 0));
    let monitor = options.monitor.as_ref().unwrap();
    assert_eq!(
        (monitor.host.as_str(), monitor.port, monitor.base_path.as_str()),
        ("127.0.0.1", 8222, "/nats")
    );
    assert_eq!(options.server_name.as_deref(), Some("n1"));
    assert_eq!(options.client_advertise, Some(Advertise { host: "example.org".into(), port: None }));
    assert_eq!((options.max_payload, options.max_pending), (2 << 20, 32 << 20));
    assert_eq!((options.max_control_line, options.max_subscriptions, options.ping_max), (8000, 10, 3));
    assert!(options.max_connections > 1_000_000);
    assert_eq!(options.ping_interval, Duration::from_secs(20));
    assert_eq!(options.write_deadline, Duration::from_millis(1500));
    assert_eq!(options.lame_duck_duration, Duration::from_secs(60));
    assert_eq!(options.lame_duck_grace_period, Duration::from_secs(3));
    assert!(all.debug && !all.trace && !all.log_time);
    assert_eq!(all.log_file.as_deref(), Some(Path::new("/tmp/l")));
    assert_eq!(all.pid_file.as_deref(), Some(Path::new("p")));
    assert_eq!(all.ports_file_dir.as_deref(), Some(Path::new("d")));
    // Zero stands for the default.
    let zero = good("port: 0, max_payload: 0, ping_interval: 0, http: 0").options;
    assert_eq!((zero.port, zero.max_payload, zero.ping_interval.as_secs()), (4222, 1 << 20, 120));
    assert!(zero.monitor.is_none());
}

#[test]
fn users_and_permissions() {
    let options = good(&format!(
        r#"
        ADMIN = {{ publish: ">", subscribe: [a, "b.>"] }}
        authorization {{
          timeout: 0.5
          default_permissions = {{ sub: {{ deny: secret }} }}
          users = [
            {{ user: a, password: $2a$10$xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, permissions: $ADMIN }}
            {{ username: b, pass: "p b", permissions {{ allow_responses: {{ max: 5, expires: "1m" }} }} }},
            {{ nkey: {USER_KEY} }}
          ]
        }}
        no_auth_user: b
        "#
    ))
    .options;
    assert_eq!(options.auth_timeout, Duration::from_millis(500));
    let [a, b] = options.users.as_slice() else { panic!() };
    assert!(a.password.starts_with("$2a$10$") && b.password == "p b");
    let permissions = a.permissions.as_ref().unwrap();
    assert_eq!(permissions.publish, Rules::only([">"]));
    assert_eq!(permissions.subscribe, Rules::only(["a", "b.>"]));
    let responses = b.permissions.as_ref().unwrap().allow_responses.unwrap();
    assert_eq!((responses.max, responses.expires), (5, Duration::from_secs(60)));
    assert_eq!(options.nkeys[0].permissions.as_ref().unwrap().subscribe.deny, ["secret"]);
    assert_eq!(options.no_auth_user.as_deref(), Some("b"));

    let single = good("authorization { user: me, password: x }").options;
    assert_eq!((single.users[0].name.as_str(), single.users[0].password.as_str()), ("me", "x"));
    assert_eq!(good("authorization { token: x }").options.token.as_deref(), Some("x"));
}

#[test]
fn accounts_and_operators() {
    let options = good(
        r#"
        accounts: {
          A: { users: [{user: a, password: x}], default_permissions: { pub: "x.>" } }
          SYS: { users: [{user: s, password: x}] }
        }
        authorization { users: [{user: g, password: x}] }
        system_account: SYS
        "#,
    )
    .options;
    assert_eq!(options.accounts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["A", "SYS"]);
    assert_eq!(good("no_auth_user: \"\"").options.no_auth_user, None);
    assert!(options.system_account.as_deref() == Some("SYS") && options.account_services);
    assert!(options.accounts[0].users[0].permissions.is_some() && options.users[0].permissions.is_none());
    assert_eq!(good("accounts: [A, B]").options.accounts.len(), 2);

    let options = good(
        "operator: eyJh.eyJi.c\nresolver: MEMORY\nsystem_account: ASYS\nresolver_preload: { ASYS: eyJx.eyJy.z }",
    )
    .options;
    let operator = options.operator.unwrap();
    assert_eq!((operator.jwt.as_str(), operator.system_account.as_deref()), ("eyJh.eyJi.c", Some("ASYS")));
    assert_eq!(operator.resolver["ASYS"], "eyJx.eyJy.z");

    for text in [
        "accounts { A { users: [{user: a}] }, B { users: [{user: a}] } }",
        "accounts { A { users: [{user: a}] } }\nauthorization { users: [{user: a}] }",
        "authorization { users: [{user: a}] }\naccounts { A { users: [{user: a}] } }",
        "authorization { user: x, password: y }\naccounts { A { users: [{user: a}] } }",
        "authorization { users: [{user: a}, {user: a}] }",
        "accounts [A, A]",
        "accounts { $G {} }",
        "system_account: X",
        "resolver_preload: { A: eyJx.eyJy.z }",
        "resolver: x",
    ] {
        bad(text);
    }
}

#[test]
fn files_of_operators_and_tls() {
    let folder = std::env::temp_dir().join(format!("nats-conf-{}-files", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("op.jwt"), "-----BEGIN-----\neyJh.eyJi.c\n------END------\n").unwrap();
    std::fs::write(path("cert"), "").unwrap();
    let options = good(&format!("operator: \"{}\"", path("op.jwt"))).options;
    assert_eq!(options.operator.unwrap().jwt, "eyJh.eyJi.c");
    let block = |more: &str| format!("tls {{ cert_file: '{0}', key_file: '{0}', {more} }}", path("cert"));
    let text = block("verify: true, timeout: 5, handshake_first: 300ms") + "\nallow_non_tls: true";
    let tls = good(&text).options.tls.unwrap();
    assert!(tls.verify && tls.allow_non_tls && tls.timeout == Duration::from_secs(5));
    assert_eq!(tls.handshake_first, HandshakeFirst::Auto(Duration::from_millis(300)));
    for (text, expected) in [
        ("true", HandshakeFirst::Always),
        ("\"off\"", HandshakeFirst::Never),
        ("auto", HandshakeFirst::Auto(Duration::from_millis(50))),
    ] {
        let tls = good(&block(&format!("first: {text}"))).options.tls.unwrap();
        assert_eq!(tls.handshake_first, expected);
    }
    assert!(bad(&block("handshake_first: soon")).contains("soon"));
    assert!(bad(&block("cipher_suites: [x]")).contains("not supported"));
    assert!(bad(&block("foo: 1")).contains("unknown field \"foo\""));
    let auth_timeout = |text: &str| good(text).options.auth_timeout.as_secs();
    let slow = block("timeout: 5");
    assert_eq!((auth_timeout("debug: true"), auth_timeout(&slow)), (2, 6));
    assert_eq!(auth_timeout(&format!("authorization {{ token: t, timeout: 1 }}\n{slow}")), 1);
    assert!(bad("tls { cert_file: nofile, key_file: nofile }").contains("nofile"));
    let text = format!("websocket {{ port: -1, allowed_origins: [\"https://a\"], {} }}", block(""));
    let websocket = good(&text).options.websocket.unwrap();
    assert!(websocket.port == 0 && websocket.tls.is_some() && websocket.allowed_origins == ["https://a"]);
    assert!(
        good("ws { listen: \"1.2.3.4:80\", no_tls: true, same_origin: true }")
            .options
            .websocket
            .unwrap()
            .same_origin
    );
    assert!(good("websocket { no_tls: true }").options.websocket.is_none());
    assert!(bad("websocket { port: 80 }").contains("no_tls"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn errors_say_where_and_what() {
    assert_eq!(bad("port: 1\nfoo: 1"), "c.conf:2:1: unknown field \"foo\"");
    assert_eq!(
        bad("port: 1\n  cluster { port: 5 }"),
        "c.conf:2:3: \"cluster\" is not supported by this server; remove it"
    );
    assert!(bad("port: x").starts_with("c.conf:1:1: port: expected a whole number"));
    assert!(
        bad("authorization {\n  users: [\n    {user: a, x: 1}]}")
            .starts_with("c.conf:3:15: unknown field \"x\"")
    );
    assert!(bad("ping_interval: 2m").contains("\"2m\" is a time"));
    for unsupported in [
        "gateway {}",
        "leafnodes { remotes: [{url: x}] }",
        "mqtt {}",
        "accounts { A { exports: [] } }",
        "authorization { auth_callout {} }",
        "resolver: URL(http://x)",
        "resolver { type: full }",
        "https: 1",
        "syslog: true",
    ] {
        assert!(bad(unsupported).contains("not supported"), "{unsupported}");
    }
    let off = good("jetstream: false, syslog: false\nocsp: false\nleafnodes { remotes: [] }");
    assert_eq!(off.warnings.len(), 1);
    assert!(off.warnings[0].starts_with("c.conf:3:1: \"leafnodes\" is ignored"), "{}", off.warnings[0]);
    assert!(off.options.headers && !good("no_header_support: true").options.headers);
    for left_out in ["jetstream: enabled", "jetstream { store_dir: x }", "leaf { port: -1 }"] {
        let warnings = good(left_out).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("not supported"), "{left_out}: {warnings:?}");
    }
    for text in [
        "port: 70000",
        "port: -2",
        "listen: localhost",
        "listen: 1.5",
        "max_payload: 1tb",
        "max_pending: -1",
        "debug: 1",
        "server_name: \"a b\"",
        "lame_duck_duration: \"1s\"",
        "lame_duck_grace_period: \"-1s\"",
        "write_deadline: \"5x\"",
        "authorization: x",
        "authorization { users: {user: a} }",
        "authorization { users: [{user: \"\"}] }",
        "authorization { token: a, user: b }",
        "authorization { token: a, users: [] }",
        "authorization { user: a, users: [] }",
        "authorization { password: a }",
        "authorization { users: [{user: a, permissions: {pub: \"a..b\"}}] }",
        "authorization { users: [{user: a, permissions: {pub: []}}] }",
        "authorization { users: [{user: a, permissions: {pub: {allow: a, foo: b}}}] }",
    ] {
        bad(text);
    }
}

#[test]
fn secrets_are_not_shown() {
    let private = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    for text in [
        "authorization { user: a, password: 5hunter2, x: 1 }".to_owned(),
        "authorization { user: a, password: hunter2\"x\" y }".to_owned(),
        "authorization { user: a, password: $hunter2 }".to_owned(),
        "authorization { user: a, password: 'hunter2 }".to_owned(),
        "authorization { token: [hunter2] }".to_owned(),
        "authorization { users: [{user: a, password: {hunter2: 1}}] }".to_owned(),
        "authorization: hunter2".to_owned(),
        format!("authorization {{ users: [{{nkey: {private}}}] }}"),
        format!("accounts {{ A {{ nkey: {private} }} }}"),
    ] {
        let message = bad(&text);
        assert!(!message.contains("hunter2") && !message.contains(private), "{message}");
    }
    let config = good("authorization { token: hunter2 }");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn variables() {
    assert_eq!(good("port: $PORT").options.port, 77);
    assert_eq!(good("port: $NESTED").options.port, 77);
    assert_eq!(good("X: 5\nport: $X").options.port, 5);
    assert_eq!(good("PORT: 6\nport: $PORT").options.port, 6);
    assert_eq!(good("host: $TEXT").options.host, "a b");
    assert_eq!(good("host: $EMPTY").options.host, "");
    assert_eq!(good("authorization: $MAP").options.users[0].name, "a");
    assert_eq!(good("authorization { U: a, user: $U, password: b }").options.users[0].name, "a");
    assert_eq!(good("host: \"$PORT\"").options.host, "$PORT");
    assert!(bad("port: $NOPE").contains("\"NOPE\" can not be found"));
    assert!(bad("port: $X\nX: 5").contains("can not be found"));
    assert!(bad("a { X: 1 }\nport: $X").contains("can not be found"));
    assert!(bad("port: $CYCLE").contains("more than 8 times"));
    assert!(bad("port: $BAD").contains("more than one value"));
    assert!(bad("X: 5\nport: 1").contains("unknown field \"X\""));
}

#[test]
fn includes() {
    let folder = std::env::temp_dir().join(format!("nats-conf-{}-includes", std::process::id()));
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("main.conf", "include 'sub/a.conf'\nauthorization { include \"sub/users.conf\" }\nport: $P");
    write("sub/a.conf", "include b.conf\n");
    write("sub/b.conf", "P: 99");
    write("sub/users.conf", "users: [{user: a, password: b}]");
    write("loop.conf", "include loop.conf");
    write("wide.conf", &"include sub/b.conf\n".repeat(300));
    write("broken.conf", "include sub/broken.conf");
    write("sub/broken.conf", "\nport: ");
    write("empty.conf", "# nothing\n");
    write("bytes.conf", "");
    std::fs::write(folder.join("bytes.conf"), b"port: 1\nhost: \xff").unwrap();
    let options = load(folder.join("main.conf")).unwrap().options;
    assert_eq!((options.port, options.users.len()), (99, 1));
    let message = |name: &str| load(folder.join(name)).unwrap_err().to_string();
    assert!(message("loop.conf").contains("cycle"), "{}", message("loop.conf"));
    assert!(message("wide.conf").contains("more than 256 files"));
    assert!(
        message("broken.conf").contains("broken.conf:2:7: expected a value"),
        "{}",
        message("broken.conf")
    );
    assert!(message("empty.conf").contains("no values"));
    assert!(message("bytes.conf").contains(":2:7: the file is not UTF-8"));
    assert!(message("nofile.conf").contains("cannot read"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nesting_and_repetition_are_bounded() {
    for (open, close) in [("[", "]"), ("{a:", "}")] {
        let nested = |levels: usize| format!("a: {}1{}", open.repeat(levels), close.repeat(levels));
        assert!(tree(&nested(64)).is_ok());
        assert!(tree(&nested(65)).is_err());
        assert!(tree(&nested(100_000)).is_err());
        assert!(tree(&format!("a: {}", open.repeat(100_000))).is_err());
    }
    let mut deeper = "v0: [1]\n".to_owned();
    let mut larger = "w0: [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
    for n in 1..100 {
        writeln!(deeper, "v{n}: [$v{}]", n - 1).unwrap();
        writeln!(larger, "w{n}: [{}]", format!("$w{},", n - 1).repeat(10)).unwrap();
    }
    assert!(tree(&deeper).err().unwrap().to_string().contains("nested deeper"));
    assert!(tree(&larger).err().unwrap().to_string().contains("bytes in memory"));
}

fn node(value: Value) -> Node {
    Node { place: Place { file: Path::new("x").into(), line: 1, column: 1 }, value }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|value| Value::Integer { value, unit: false }),
        (-1_000_000i32..1_000_000).prop_map(|n| Value::Float(f64::from(n) + 0.5)),
        any::<String>().prop_map(Value::Text),
        "[a-z0-9.:$#/ {}'\"()\\[\\],;-]{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone().prop_map(node), 0..5).prop_map(Value::List),
            maps(inner).prop_map(Value::Map),
        ]
    })
}

fn maps(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
    prop::collection::vec(("[a-zA-Z0-9_.> -]{1,8}", value), 0..5).prop_map(|fields| {
        let mut map = Map::default();
        for (key, value) in fields {
            map.insert(key, node(value));
        }
        map
    })
}

/// Writes a tree down, with the separators that `style` chooses.
fn write(map: &Map, style: usize, out: &mut String) {
    let separator = [": ", " = ", " ", ":"][style % 4];
    let end = ["\n", ",", ";", " # comment\n", "\r\n", " // comment\n"][style % 6];
    for field in map.fields() {
        out.push_str(&format!("\"{}\"{separator}", field.key));
        write_value(&field.node.value, style, out);
        out.push_str(end);
    }
}

fn write_value(value: &Value, style: usize, out: &mut String) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "yes" } else { "OFF" }),
        Value::Integer { value, .. } => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&format!("{value:?}")),
        Value::Text(text) if style.is_multiple_of(2) && !text.contains('\'') => {
            out.push_str(&format!("'{text}'"))
        }
        Value::Text(text) => {
            out.push('"');
            for c in text.chars() {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    '\n' => out.push_str("\\n"),
                    c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        Value::Date(text) => out.push_str(text),
        Value::List(nodes) => {
            out.push('[');
            for node in nodes {
                write_value(&node.value, style, out);
                out.push_str([", ", "\n", " #c\n"][style % 3]);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("{ ");
            write(map, style, out);
            out.push('}');
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(map in maps(values()), style in 0usize..12, braces: bool) {
        let mut text = String::new();
        write(&map, style, &mut text);
        if braces {
            text = format!("{{\n{text}}}\n");
        }
        let read = tree(&text);
        prop_assert!(read.as_ref().is_ok_and(|read| *read == map), "{:?}\n{}", read.err().map(|e| e.to_string()), text);
    }

    #[test]
    fn garbage_never_panics(text: String) {
        let _ = config(&text);
    }

    #[test]
    fn nearly_good_text_never_panics(text in r#"([a-z$]{1,3}|[{}\[\]()'":=,;#/\\ \n.-]|[0-9]{1,3}|include |port|authorization|users|user|tls|websocket|accounts|permissions){0,40}"#) {
        let _ = config(&text);
    }
}
