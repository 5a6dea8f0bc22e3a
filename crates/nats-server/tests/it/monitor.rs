//! Monitoring: its answers, and the same questions to this server and to the reference server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use bacalhau_nats_server::{Account, Error, MonitorOptions, Options, Server, User};
use serde_json::Value;

use crate::differential::Reference;
use crate::support::{PATIENCE, Raw, eventually, options};

fn monitored(more: Options) -> (Server, SocketAddr) {
    let monitor = MonitorOptions { host: "127.0.0.1".into(), port: 0, ..MonitorOptions::default() };
    // With the times that the reference has.
    let Options { first_ping, write_deadline, .. } = Options::default();
    let server =
        Server::start(Options { monitor: Some(monitor), first_ping, write_deadline, ..more }).unwrap();
    let addr = server.monitor_addr().unwrap();
    (server, addr)
}

/// Status, head and body. HTTP/1.0, so that nobody answers in chunks.
fn ask(addr: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> Value {
    let (status, head, body) = ask(addr, "GET", path);
    assert!(status == 200 && head.contains("content-type: application/json"), "{path}: {head} {body}");
    serde_json::from_str(&body).unwrap()
}

/// The values of one key in a list.
fn each(list: &Value, key: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().map(|entry| entry[key].clone()).collect()
}

/// Three clients that differ in every figure that can be sorted by; `gone` has closed. The other two are returned.
fn traffic(addr: SocketAddr, credentials: &str) -> [Raw; 2] {
    let connect = |name: &str| {
        let more =
            r#""lang":"test","version":"1.2","headers":true,"protocol":1,"verbose":false,"pedantic":false"#;
        Raw::connected(addr, &format!("{{\"name\":\"{name}\",{more}{credentials}}}"))
    };
    let mut first = connect("first");
    first.send("SUB foo.> 1\r\nSUB foo.bar q 2\r\nUNSUB 2 10\r\nPUB foo.bar 2\r\nhi\r\nPING\r\n");
    first.until("PONG\r\n");
    let mut gone = connect("gone");
    gone.send("SUB only.here 1\r\nPUB nobody 3\r\nabc\r\nPING\r\n");
    gone.until("PONG\r\n");
    gone.stream.shutdown(Shutdown::Write).unwrap();
    gone.rest();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut second = connect("second");
    second.send("SUB bar x\r\nPUB bar 5\r\nhello\r\nPUB none 1\r\n1\r\nPUB none 1\r\n1\r\nPING\r\n");
    second.until("PONG\r\n");
    [first, second]
}

#[test]
fn what_clients_do_is_shown() {
    let (server, addr) = monitored(options());
    let _clients = traffic(server.addr(), "");
    // Counters are published at the end of a round, which may be after its answers.
    eventually("all is counted", || get(addr, "/varz")["in_msgs"] == 5);
    let varz = get(addr, "/varz");
    for (key, value) in [
        ("connections", 2),
        ("total_connections", 3),
        ("in_msgs", 5),
        ("in_bytes", 12),
        ("out_msgs", 3),
        ("out_bytes", 9),
        ("subscriptions", 3),
        ("slow_consumers", 0),
        ("max_payload", 1024 * 1024),
        ("write_deadline", 10_000_000_000_i64),
        ("port", server.addr().port().into()),
        ("http_port", addr.port().into()),
    ] {
        assert_eq!(varz[key], value, "{key}");
    }
    assert!(varz["mem"].as_u64().unwrap() > 100_000 && varz["cores"].as_u64().unwrap() > 0);
    assert!(varz["uptime"].as_str().unwrap().ends_with('s') && varz.get("auth_required").is_none());
    let asked = |varz: &Value| varz["http_req_stats"]["/varz"].as_u64().unwrap();
    assert_eq!(asked(&get(addr, "/varz")), asked(&varz) + 1);

    let connz = get(addr, "/connz?subs=detail&auth=1");
    assert_eq!(
        (&connz["num_connections"], &connz["total"], &connz["limit"]),
        (&2.into(), &2.into(), &1024.into())
    );
    let first = &connz["connections"][0];
    for (key, value) in [
        ("cid", 1),
        ("in_msgs", 1),
        ("out_msgs", 2),
        ("in_bytes", 2),
        ("out_bytes", 4),
        ("subscriptions", 2),
        ("pending_bytes", 0),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    for (key, value) in
        [("name", "first"), ("lang", "test"), ("version", "1.2"), ("kind", "Client"), ("ip", "127.0.0.1")]
    {
        assert_eq!(first[key], value, "{key}");
    }
    assert_eq!(first["subscriptions_list_detail"][1]["qgroup"], "q");
    assert_eq!(first["subscriptions_list_detail"][1]["max"], 10);
    assert!(first["rtt"].as_str().unwrap().ends_with('s') && first.get("stop").is_none());

    let closed = get(addr, "/connz?state=closed")["connections"][0].clone();
    assert_eq!(
        (&closed["name"], &closed["reason"], &closed["subscriptions"]),
        (&"gone".into(), &"Client Closed".into(), &1.into())
    );
    assert!(closed["stop"].as_str() > closed["start"].as_str());
    assert_eq!(each(&get(addr, "/connz?state=any")["connections"], "cid"), [1, 2, 3]);
    assert_eq!(each(&get(addr, "/connz?cid=3")["connections"], "name"), ["second"]);
    assert_eq!(each(&get(addr, "/connz?user=nobody")["connections"], "name").len(), 0);
}

#[test]
fn subscriptions_are_shown() {
    let (server, addr) = monitored(options());
    let _local = server.local_client("embedder").subscribe("foo.*").unwrap();
    let _clients = traffic(server.addr(), "");
    let subsz = get(addr, "/subscriptionsz?subs=1");
    assert_eq!(
        (&subsz["num_subscriptions"], &subsz["num_inserts"], &subsz["num_removes"]),
        (&4.into(), &5.into(), &1.into())
    );
    let mut subjects = each(&subsz["subscriptions_list"], "subject");
    subjects.sort_by_key(Value::to_string);
    assert_eq!(subjects, ["bar", "foo.*", "foo.>", "foo.bar"]);
    let tested = get(addr, "/subsz?subs=1&test=foo.x");
    assert_eq!(
        (tested["total"].clone(), tested["subscriptions_list"][0]["account"].clone()),
        (2.into(), "$G".into())
    );
    let window = get(addr, "/subsz?subs=1&offset=3&limit=5");
    assert_eq!((&window["total"], window["subscriptions_list"].as_array().unwrap().len()), (&4.into(), 1));
    assert_eq!(get(addr, "/subsz")["total"], 0, "nothing is listed without subs=1");
    assert_eq!(get(addr, "/subsz?acc=nobody&subs=1")["num_subscriptions"], 0);
}

#[test]
fn accounts_and_users_are_shown_but_no_secrets() {
    let account = |name: &str, user: &str| Account {
        name: name.into(),
        users: vec![User::new(user, "hunter2")],
        nkeys: Vec::new(),
    };
    let (server, addr) = monitored(Options {
        token: Some("hunter2".into()),
        accounts: vec![account("A", "ann"), account("B", "bob")],
        ..options()
    });
    let _ann = traffic(server.addr(), r#","user":"ann","pass":"hunter2""#);
    let _token = traffic(server.addr(), r#","auth_token":"hunter2""#);
    let mut refused = Raw::open(server.addr());
    refused.send("CONNECT {\"user\":\"ann\",\"pass\":\"hunter3\"}\r\n");
    refused.rest();
    let ann = get(addr, "/connz?acc=A&auth=1");
    assert_eq!(
        (&ann["total"], &ann["connections"][0]["account"], &ann["connections"][0]["authorized_user"]),
        (&2.into(), &"A".into(), &"ann".into())
    );
    assert!(get(addr, "/connz?acc=A")["connections"][0].get("account").is_none());
    assert_eq!(get(addr, "/connz?user=ann&auth=1")["num_connections"], 2);
    assert_eq!(get(addr, "/connz?acc=B")["total"], 0);
    let closed = get(addr, "/connz?state=closed&sort=reason");
    assert_eq!(each(&closed["connections"], "reason")[0], "Authentication Failure");
    assert_eq!(each(&get(addr, "/subsz?acc=A&subs=1")["subscriptions_list"], "account"), ["A", "A", "A"]);
    let detail = get(addr, "/accountz?acc=A")["account_detail"].clone();
    assert_eq!((&detail["client_connections"], &detail["subscriptions"]), (&2.into(), &3.into()));
    assert_eq!(get(addr, "/accountz")["accounts"], serde_json::json!(["$G", "A", "B", "$SYS"]));
    eventually("the refusal is counted", || get(addr, "/varz")["auth_failures"] == 1);
    let varz = get(addr, "/varz");
    assert_eq!((&varz["auth_required"], &varz["auth_failures"]), (&true.into(), &1.into()));
    for path in
        ["/", "/varz", "/connz?state=any&auth=1&subs=detail", "/subsz?subs=1", "/accountz?acc=A", "/accountz"]
    {
        let (.., body) = ask(addr, "GET", path);
        assert!(!body.contains("hunter"), "{path}");
    }
}

#[test]
fn pages_hold_everybody_once() {
    let (server, addr) = monitored(options());
    let conns: Vec<Raw> = (0..600).map(|_| Raw::connected(server.addr(), r#"{"verbose":false}"#)).collect();
    let mut seen = Vec::new();
    for offset in (0..700).step_by(70) {
        let page = get(addr, &format!("/connz?offset={offset}&limit=70&sort=uptime"));
        assert_eq!((&page["total"], &page["limit"]), (&600.into(), &70.into()));
        seen.extend(each(&page["connections"], "cid").iter().map(|cid| cid.as_u64().unwrap()));
    }
    assert_eq!(seen, (1..=600).rev().collect::<Vec<_>>(), "the youngest first");
    drop(conns);
    eventually("all are closed", || get(addr, "/connz?state=closed&limit=5")["total"] == 600);
    assert_eq!(get(addr, "/connz")["connections"], serde_json::json!([]));
}

#[test]
fn odd_requests() {
    let (server, addr) = monitored(options());
    let (status, head, body) = ask(addr, "POST", "/varz");
    assert!(status == 405 && head.contains("allow: get, head") && body.contains("GET"), "{head}");
    let (status, head, body) = ask(addr, "HEAD", "/varz");
    assert!(status == 200 && head.contains("application/json") && body.is_empty(), "{head} {body}");
    let (status, head, body) = ask(addr, "GET", "/");
    assert!(status == 200 && head.contains("text/html") && body.contains("href=\"/connz\""), "{head} {body}");
    let long = format!("/varz?x={}", "y".repeat(40_000));
    assert!(matches!(ask(addr, "GET", &long).0, 0 | 414 | 431), "a head without end is not read");
    let mut garbage = TcpStream::connect(addr).unwrap();
    garbage.write_all(b"\x16\x03\x01 hello?\r\n\r\n").unwrap();
    garbage.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = garbage.read_to_end(&mut Vec::new());
    let _idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
    assert_eq!(get(addr, "/healthz"), serde_json::json!({ "status": "ok" }));
    assert_eq!(get(addr, "/jsz")["disabled"], true);
    server.shutdown();
    assert!(TcpStream::connect(addr).is_err(), "it ends with the server");
}

#[test]
fn where_it_is_served() {
    assert_eq!(Server::start(options()).unwrap().monitor_addr(), None);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |port, base: &str| {
        let monitor = MonitorOptions { host: "127.0.0.1".into(), port, base_path: base.into() };
        Server::start(Options { monitor: Some(monitor), ..options() })
    };
    assert!(matches!(at(taken.local_addr().unwrap().port(), ""), Err(Error::Listen { .. })));
    assert!(matches!(at(0, "nats"), Err(Error::Option { .. })));
    let server = at(0, "/nats").unwrap();
    let addr = server.monitor_addr().unwrap();
    assert_eq!(get(addr, "/nats/varz")["http_base_path"], "/nats");
    assert_eq!((ask(addr, "GET", "/nats").0, ask(addr, "GET", "/varz").0), (200, 404));
}

/// Keys of the reference that are not here, and why.
const LEFT_OUT: [(&str, &str); 12] = [
    ("git_commit", "of the other program"),
    ("gomaxprocs", "there is no Go runtime"),
    ("config_digest", "settings come from the embedding program"),
    ("feature_flags", "of JetStream"),
    ("disk_io_wait_stats", "nothing is stored"),
    ("account_detail.update_time", "accounts do not change"),
    ("account_detail.imports", "there are none"),
    ("account_detail.exports", "there are none"),
    ("account_detail.responses", "there are none"),
    ("account_detail.jwt", "it is a credential"),
    ("connections[].jwt", "it is a credential"),
    ("connections[].issuer_key", "operators only"),
];

/// Keys that only this server has.
const OURS: [&str; 5] =
    ["auth_failures", "refused_connections", "protocol_errors", "local_clients", "local_overflows"];

/// Kind of value by path of keys; entries of a list count as one.
fn shape(value: &Value, path: &str, into: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(entries) => {
            entries.iter().for_each(|entry| shape(entry, &format!("{path}[]"), into));
            "list"
        }
        Value::Object(entries) => {
            for (key, entry) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                shape(entry, &path, into);
            }
            "object"
        }
    };
    into.insert(path.to_owned(), kind);
}

fn shapes(value: &Value) -> BTreeMap<String, &'static str> {
    let mut into = BTreeMap::new();
    shape(value, "", &mut into);
    into
}

#[test]
fn same_answers_as_the_reference_server() {
    let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return;
    };
    let reference = Reference::start(&binary, &["-m", "-1"]);
    let its_addr = reference.monitor.unwrap();
    let (ours, our_addr) = monitored(options());
    // One says nothing. It has its number before there are others.
    for (server, monitor) in [(reference.addr, its_addr), (ours.addr(), our_addr)] {
        drop(TcpStream::connect(server).unwrap());
        eventually("the first is closed", || get(monitor, "/connz?state=closed")["total"] == 1);
    }
    let _clients = (traffic(reference.addr, ""), traffic(ours.addr(), ""));
    for addr in [its_addr, our_addr] {
        eventually("two are closed", || get(addr, "/connz?state=closed")["total"] == 2);
    }
    same_shapes(its_addr, our_addr);
    same_values(its_addr, our_addr);
    same_orders(its_addr, our_addr);
    for path in [
        "/connz?sort=bogus",
        "/connz?sort=stop",
        "/connz?sort=reason&state=any",
        "/connz?state=odd",
        "/connz?limit=x",
        "/connz?cid=x",
        "/connz?cid=-1",
        "/connz?subs=maybe",
        "/connz?auth=maybe",
        "/connz?limit=%zz",
        "/subsz?subs=detail",
        "/subsz?test=foo.*",
        "/subsz?offset=x",
        "/accountz?acc=nobody",
        "/varz/",
        "/nope",
        "/healthz?details=true",
    ] {
        assert_eq!(ask(our_addr, "GET", path).0, ask(its_addr, "GET", path).0, "{path}");
    }
}

fn same_shapes(its_addr: SocketAddr, our_addr: SocketAddr) {
    for path in [
        "/varz",
        "/varz?callback=f",
        "/connz",
        "/connz?subs=1&auth=1",
        "/connz?subs=detail&auth=1",
        "/connz?state=closed&auth=1",
        "/connz?state=any",
        "/subsz",
        "/subsz?subs=1",
        "/healthz",
        "/routez",
        "/leafz",
        "/gatewayz",
        "/accountz",
        "/accountz?acc=$G",
        "/jsz",
    ] {
        let (its, ours) = (shapes(&get(its_addr, path)), shapes(&get(our_addr, path)));
        let left_out = |key: &str| {
            LEFT_OUT.iter().any(|(out, _)| {
                key.strip_prefix(out)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
        };
        for (key, kind) in &its {
            assert!(
                ours.get(key) == Some(kind) || left_out(key),
                "{path}: {key} is a {kind}, here {:?}",
                ours.get(key)
            );
        }
        for key in ours.keys() {
            assert!(its.contains_key(key) || OURS.contains(&key.as_str()), "{path}: {key} is only here");
        }
    }
}

fn same_values(its_addr: SocketAddr, our_addr: SocketAddr) {
    let varz = [
        "connections",
        "total_connections",
        "in_msgs",
        "in_bytes",
        "in_client_msgs",
        "in_client_bytes",
        "out_msgs",
        "out_bytes",
        "out_client_msgs",
        "out_client_bytes",
        "slow_consumers",
        "slow_consumer_stats",
        "stale_connections",
        "stalled_clients",
        "max_connections",
        "max_payload",
        "max_pending",
        "max_control_line",
        "ping_interval",
        "ping_max",
        "auth_timeout",
        "tls_timeout",
        "write_deadline",
        "proto",
        "cores",
        "routes",
        "leafnodes",
        "cluster",
        "websocket",
        "jetstream",
        "http_base_path",
    ];
    let connz = [
        "name",
        "kind",
        "type",
        "ip",
        "in_msgs",
        "out_msgs",
        "in_bytes",
        "out_bytes",
        "subscriptions",
        "lang",
        "version",
        "reason",
        "name_tag",
        "account",
        "authorized_user",
        "uptime",
        "idle",
    ];
    eventually("all is counted", || get(our_addr, "/varz")["in_msgs"] == 5);
    let (its, ours) = (get(its_addr, "/varz"), get(our_addr, "/varz"));
    for key in varz {
        assert_eq!(ours[key], its[key], "varz {key}");
    }
    for path in [
        "/connz",
        "/connz?state=closed",
        "/connz?state=any&auth=1",
        "/connz?offset=1&limit=1&state=all",
        "/connz?cid=99&state=open",
        "/connz?user=x",
        "/connz?offset=77",
    ] {
        let (its, ours) = (get(its_addr, path), get(our_addr, path));
        for key in ["num_connections", "total", "offset", "limit"] {
            assert_eq!(ours[key], its[key], "{path} {key}");
        }
        // How the probe ended is a matter of chance.
        let named = |value: &Value| {
            let mut list = value["connections"].clone();
            list.as_array_mut().unwrap().retain(|conn| conn["name"].is_string());
            list
        };
        for key in connz {
            assert_eq!(each(&named(&ours), key), each(&named(&its), key), "{path} {key}");
        }
    }
    for path in
        ["/subsz?subs=1&test=foo.bar", "/subsz?subs=1&test=bar", "/subsz?test=bar", "/subsz?acc=nobody"]
    {
        let (its, ours) = (get(its_addr, path), get(our_addr, path));
        for key in ["total", "offset", "limit"] {
            assert_eq!(ours[key], its[key], "{path} {key}");
        }
        let list = |value: &Value| {
            let list = value["subscriptions_list"].as_array().cloned().unwrap_or_default();
            let mut lines: Vec<String> = list
                .iter()
                .map(|sub| {
                    format!(
                        "{} {} {} {} {} {}",
                        sub["account"], sub["subject"], sub["qgroup"], sub["sid"], sub["msgs"], sub["max"]
                    )
                })
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(list(&ours), list(&its), "{path}");
    }
    assert_eq!(get(our_addr, "/healthz"), get(its_addr, "/healthz"));
}

fn same_orders(its_addr: SocketAddr, our_addr: SocketAddr) {
    for sort in
        ["cid", "start", "subs", "msgs_to", "msgs_from", "bytes_to", "bytes_from", "last", "idle", "uptime"]
    {
        let path = format!("/connz?state=open&sort={sort}");
        let names = |addr| each(&get(addr, &path)["connections"], "name");
        assert_eq!(names(our_addr), names(its_addr), "{sort}");
    }
    for sort in ["stop", "reason", "pending", "rtt"] {
        let path = format!("/connz?state=closed&sort={sort}");
        let (its, ours) = (get(its_addr, &path), get(our_addr, &path));
        assert_eq!(ours["num_connections"], its["num_connections"], "{sort}");
        if sort == "stop" {
            assert_eq!(each(&ours["connections"], "name"), each(&its["connections"], "name"), "{sort}");
        }
    }
}
