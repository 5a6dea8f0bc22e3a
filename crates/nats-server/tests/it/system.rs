//! What the server says about itself on `$SYS.` subjects: beside the reference server named by `NATS_SERVER_BIN` (the
//! same keys with values of the same types), and alone where the values are known.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bacalhau_nats_server::jwt::AccountClaims;
use bacalhau_nats_server::{Account, CloseReason, Options, Permissions, Rules, Server, User, conf};
use serde_json::Value;

use crate::differential::Reference;
use crate::support::{Raw, eventually, options};
use crate::world::{TempFile, World};

const CONFIG: &str = r#"
server_name: probe
accounts {
  SYS { users: [{user: sys, password: s}] }
  A { users: [
    {user: a, password: a}
    {user: few, password: f, permissions: {publish: {allow: ["x", "$SYS.REQ.USER.INFO"], deny: ["y"]},
      subscribe: {allow: ["_INBOX.>", "q grp"]}, allow_responses: true}}
  ] }
  B { users: [{user: b, password: b}] }
}
system_account: SYS
"#;

/// One word of the server: a message's subject and body, or no responders.
#[derive(Debug)]
struct Word {
    subject: String,
    body: String,
    nobody: bool,
}

impl Word {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A client that asks.
struct Asker {
    raw: Raw,
    inbox: String,
    id: String,
    cid: u64,
    asked: usize,
}

impl Asker {
    fn new(addr: SocketAddr, credentials: &str) -> Asker {
        let mut raw = Raw::open(addr);
        let info = raw.until("\r\n");
        let info: Value = serde_json::from_str(info.trim_start_matches("INFO ")).unwrap();
        let inbox = format!("_INBOX.{}", info["client_id"]);
        let more = r#""verbose":false,"pedantic":false,"headers":true,"no_responders":true"#;
        let who = r#""name":"asker","lang":"test","version":"1""#;
        raw.send(format!("CONNECT {{{more},{who}{credentials}}}\r\nSUB {inbox}.> in\r\nPING\r\n"));
        raw.until("PONG\r\n");
        Asker {
            inbox,
            raw,
            id: info["server_id"].as_str().unwrap().to_owned(),
            cid: info["client_id"].as_u64().unwrap(),
            asked: 0,
        }
    }

    fn user(addr: SocketAddr, name: &str) -> Asker {
        let password = name.get(..1).unwrap();
        Asker::new(addr, &format!(r#","user":"{name}","pass":"{password}""#))
    }

    fn word(&mut self) -> Word {
        let mut line = self.raw.until("\r\n");
        while line == "PING\r\n" {
            self.raw.send("PONG\r\n");
            line = self.raw.until("\r\n");
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let subject = words.get(1).copied().unwrap_or_default().to_owned();
        match words.first() {
            Some(&"MSG") => {
                let body = self.raw.until("\r\n").trim_end().to_owned();
                Word { subject, body, nobody: false }
            }
            Some(&"HMSG") => {
                let body = self.raw.until("\r\n\r\n\r\n");
                assert!(body.starts_with("NATS/1.0 503\r\n"), "{body}");
                Word { subject, body, nobody: true }
            }
            other => panic!("{other:?} in {line:?}"),
        }
    }

    /// `ID` as a token is the server's. Public keys of accounts may hold these letters too.
    fn to_this(&self, subject: &str) -> String {
        let tokens = subject.split('.').map(|token| if token == "ID" { &*self.id } else { token });
        tokens.collect::<Vec<_>>().join(".")
    }

    /// The answer to a request; `None`: there is none, for a later request was answered.
    fn ask(&mut self, subject: &str, body: &str, fence: &str) -> Option<Word> {
        self.asked += 1;
        let (own, after) =
            (format!("{}.{}", self.inbox, self.asked), format!("{}.{}.fence", self.inbox, self.asked));
        let subject = self.to_this(subject);
        self.raw
            .send(format!("PUB {subject} {own} {}\r\n{body}\r\nPUB {fence} {after} 0\r\n\r\n", body.len()));
        let mut answer = None;
        loop {
            let word = self.word();
            if word.subject == after {
                return answer;
            }
            assert_eq!(word.subject, own, "{word:?}");
            assert!(answer.replace(word).is_none(), "two answers to {subject}");
        }
    }

    /// The answer, which must come.
    fn answer(&mut self, subject: &str, body: &str) -> Word {
        self.asked += 1;
        let own = format!("{}.{}", self.inbox, self.asked);
        let subject = self.to_this(subject);
        self.raw.send(format!("PUB {subject} {own} {}\r\n{body}\r\n", body.len()));
        let word = self.word();
        assert_eq!(word.subject, own, "{word:?}");
        word
    }
}

/// Keys and the types of their values.
fn shape(value: &Value) -> BTreeSet<String> {
    fn go(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| go(value, &format!("{path}.{key}"), into))
            }
            Value::Array(list) => list.iter().for_each(|value| go(value, &format!("{path}[]"), into)),
            Value::Null => drop(into.insert(format!("{path} null"))),
            Value::Bool(_) => drop(into.insert(format!("{path} bool"))),
            Value::Number(_) => drop(into.insert(format!("{path} number"))),
            Value::String(_) => drop(into.insert(format!("{path} text"))),
        }
    }
    let mut into = BTreeSet::new();
    go(value, "", &mut into);
    into
}

/// The same with sorted lists: the reference gives them in any order.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), in_order(value))).collect(),
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(in_order).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        other => other.clone(),
    }
}

/// Keys of which only one of the two servers knows something, in documents that are those of monitoring too: compared
/// there; and what describes a Go build.
const NOT_COMPARED: &[&str] = &[
    ".server.feature_flags",
    ".statsz.gomaxprocs",
    ".data.gomaxprocs",
    ".data.git_commit",
    ".data.feature_flags",
    ".data.config_digest",
    ".data.exports",
    ".data.disk_io_wait_stats",
    ".data.auth_failures",
    ".data.local_",
    ".data.protocol_errors",
    ".data.refused_connections",
    ".data.tls_failures",
    ".data.imports",
    ".data.update_time",
    ".data.account_detail.imports",
    ".data.account_detail.update_time",
    ".data.subscriptions_list",
    ".data.System recvQ",
    // Whoever was refused has only claimed these; they are not passed on here.
    ".client.user",
    ".client.name",
    ".client.lang",
    ".client.ver",
];

fn comparable(value: &Value) -> BTreeSet<String> {
    let known = |path: &String| !NOT_COMPARED.iter().any(|prefix| path.starts_with(prefix));
    shape(value).into_iter().filter(known).collect()
}

fn ours(config: &str) -> (Server, TempFile) {
    let file = TempFile::new("conf", config);
    let mut config = conf::load(&file.path).unwrap();
    (config.options.host, config.options.port) = ("127.0.0.1".into(), 0);
    (Server::start(config.options).unwrap(), file)
}

fn reference(file: &TempFile) -> Option<Reference> {
    let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return None;
    };
    Some(Reference::start(&binary, &["-c", file.path.to_str().unwrap()]))
}

/// What is asked of both: who, subject, body.
fn questions() -> Vec<(&'static str, String, &'static str)> {
    let mut list = Vec::new();
    let mut add = |who, subject: &str, body| list.push((who, subject.to_owned(), body));
    for who in ["sys", "a", "few"] {
        add(who, "$SYS.REQ.USER.INFO", "");
    }
    add("a", "$SYS.REQ.USER.INFO", "{no json");
    add("sys", "$SYS.REQ.USER.A.INFO", "");
    for subject in ["PING", "PING.NOPE", "PING.KICK", "PING.RELOAD", "ID", "ID.NOPE", "PING.VARZ.x"] {
        add("sys", &format!("$SYS.REQ.SERVER.{subject}"), "");
    }
    for whom in ["PING", "ID"] {
        for what in
            "VARZ CONNZ SUBSZ STATSZ HEALTHZ IDZ ACCOUNTZ PROFILEZ ROUTEZ GATEWAYZ LEAFZ JSZ IPQUEUESZ RAFTZ"
                .split(' ')
        {
            add("sys", &format!("$SYS.REQ.SERVER.{whom}.{what}"), "");
        }
    }
    for account in ["A", "SYS"] {
        for what in ["CONNZ", "SUBSZ", "INFO", "CONNS", "STATZ", "LEAFZ", "JSZ", "NOPE"] {
            add("sys", &format!("$SYS.REQ.ACCOUNT.{account}.{what}"), "");
        }
    }
    for what in ["INFO", "CONNS", "STATZ", "SUBSZ", "LEAFZ", "JSZ"] {
        add("sys", &format!("$SYS.REQ.ACCOUNT.nope.{what}"), "");
    }
    add("sys", "$SYS.REQ.ACCOUNT.PING.STATZ", "");
    for body in [r#"{"accounts":["A","B"]}"#, r#"{"accounts":["nope"],"include_unused":true}"#] {
        add("sys", "$SYS.REQ.ACCOUNT.PING.STATZ", body);
    }
    for body in [
        r#"{"offset":1,"limit":1}"#,
        r#"{"acc":"A","auth":true,"subscriptions":true}"#,
        r#"{"user":"a"}"#,
        r#"{"auth":true,"subscriptions_detail":true,"subscriptions":true}"#,
        r#"{"sort":"bytes_to"}"#,
        r#"{"sort":"x"}"#,
        r#"{"filter_subject":"x"}"#,
        r#"{"server_name":"prob"}"#,
        r#"{"server_name":"prob","exact_match":true}"#,
        r#"{"server_name":"other"}"#,
        r#"{"cluster":"x"}"#,
        r#"{"host":"127"}"#,
        r#"{"tags":["x"]}"#,
        r#"{"domain":"x"}"#,
        r#"{"Offset":1}"#,
        r#"{"unknown":1}"#,
        "null",
        "{\"x\":",
        "[]",
        "1",
        r#"{"offset":"a"}"#,
        r#"{"offset":1.5}"#,
        r#"{"auth":1}"#,
    ] {
        add("sys", "$SYS.REQ.SERVER.PING.CONNZ", body);
    }
    for body in [r#"{"test":"foo"}"#, r#"{"test":"foo.*"}"#, r#"{"subscriptions":true,"limit":2}"#] {
        add("sys", "$SYS.REQ.SERVER.PING.SUBSZ", body);
    }
    for body in [r#"{"account":"A"}"#, r#"{"account":"nope"}"#, r#"{"server_name":"x"}"#, "{\"x\""] {
        add("sys", "$SYS.REQ.SERVER.PING.ACCOUNTZ", body);
        add("sys", "$SYS.REQ.SERVER.PING.IDZ", body);
        add("sys", "$SYS.REQ.SERVER.PING", body);
    }
    for subject in ["ACCOUNT.PING.CONNZ", "SERVER.PING.CONNZ", "ACCOUNT.PING.STATZ"] {
        add("a", &format!("$SYS.REQ.{subject}"), "");
        add("a", &format!("$SYS.REQ.{subject}"), r#"{"acc":"B"}"#);
    }
    for subject in ["SERVER.PING", "SERVER.PING.VARZ", "ACCOUNT.A.CONNZ", "ACCOUNT.A.INFO", "USER.A.INFO"] {
        add("a", &format!("$SYS.REQ.{subject}"), "");
    }
    for command in ["KICK", "LDM"] {
        for body in ["{}", r#"{"cid":0}"#, r#"{"cid":"x"}"#, "", "{"] {
            add("sys", &format!("$SYS.REQ.SERVER.ID.{command}"), body);
        }
    }
    add("sys", "$SYS.REQ.CLAIMS.LOOKUP", "");
    add("sys", "$SYS.ACCOUNT.A.CLAIMS.UPDATE", "no.jwt");
    list
}

/// Requests that are not answered at all: for other servers, about nobody, or not understood.
fn is_silent(subject: &str, body: &str) -> bool {
    let others = ["exact_match", "other", "cluster", "tags", "domain", r#""server_name":"x""#];
    let for_others = others.iter().any(|word| body.contains(word)) && !subject.ends_with("IDZ");
    let nobody = subject.ends_with("nope.CONNS") || subject.ends_with("nope.STATZ");
    let command = subject.ends_with("ID.KICK") || subject.ends_with("ID.LDM");
    for_others || nobody || (command && ["", "{", r#"{"cid":"x"}"#].contains(&body))
}

#[test]
fn answers_have_the_form_of_those_of_the_reference_server() {
    let (ours, file) = ours(CONFIG);
    let Some(theirs) = reference(&file) else { return };
    let askers = |addr| ["sys", "a", "few"].map(|name| Asker::user(addr, name));
    let (mut here, mut there) = (askers(ours.addr()), askers(theirs.addr));
    let mut different = Vec::new();
    for (who, subject, body) in questions() {
        let number = ["sys", "a", "few"].iter().position(|name| *name == who).unwrap();
        let silent = is_silent(&subject, body);
        let ask = |askers: &mut [Asker; 3]| {
            let asker = &mut askers[number];
            match silent {
                true => asker.ask(&subject, body, "$SYS.REQ.SERVER.PING.HEALTHZ"),
                false => Some(asker.answer(&subject, body)),
            }
        };
        let (expected, found) = (ask(&mut there), ask(&mut here));
        let same = match (&expected, &found) {
            (None, None) => true,
            (Some(one), Some(other)) if one.nobody || other.nobody => one.nobody == other.nobody,
            (Some(one), Some(other)) => {
                let (one, other) = (one.json(), other.json());
                let texts = |json: &Value| json["error"]["description"].clone();
                comparable(&one) == comparable(&other)
                    && (texts(&one) == texts(&other) || subject.contains("CLAIMS"))
                    && (!subject.contains("USER") || in_order(&one["data"]) == in_order(&other["data"]))
            }
            _ => false,
        };
        if !same {
            different.push(format!("{who} {subject} {body}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Events of connections that come and go, in their order, up to the end of the last one.
fn events(addr: SocketAddr) -> Vec<(String, Value)> {
    let mut listener = Asker::user(addr, "sys");
    listener.raw.send(
        "SUB $SYS.ACCOUNT.*.* 1\r\nSUB $SYS.ACCOUNT.*.SERVER.CONNS 2\r\nSUB $SYS.SERVER.ACCOUNT.> 3\r\n\
         SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 4\r\nPING\r\n",
    );
    listener.raw.until("PONG\r\n");
    let leave = |mut asker: Asker| {
        asker.raw.send("PUB x 3\r\nabc\r\nPING\r\n");
        asker.raw.until("PONG\r\n");
        asker.raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        asker.raw.rest();
    };
    // The reference tells events a little later, and some of one step in any order: all of a step are awaited before
    // the next one. Those who come and those who leave cause three: the count of connections on both of its subjects
    // and the event of their own. The first who comes and leaves shows that nothing is left of the listener's own coming.
    leave(Asker::user(addr, "b"));
    let mut of_first = 0;
    while of_first < 6 {
        of_first += usize::from(listener.word().subject.contains(".ACCOUNT.B."));
    }
    let mut events = Vec::new();
    let mut await_all = |listener: &mut Asker, count: usize| {
        let end = events.len() + count;
        while events.len() < end {
            let word = listener.word();
            if !word.subject.starts_with("_INBOX") {
                events.push((word.subject.replace(&listener.id, "ID"), word.json()));
            }
        }
    };
    let client = Asker::user(addr, "a");
    await_all(&mut listener, 3);
    leave(client);
    await_all(&mut listener, 3);
    let mut refused = Raw::open(addr);
    refused.send("CONNECT {\"user\":\"a\",\"pass\":\"wrong\"}\r\nPING\r\n");
    refused.rest();
    await_all(&mut listener, 2);
    // Somebody who says nothing.
    let mut silent = Raw::open(addr);
    silent.until("\r\n");
    silent.stream.shutdown(std::net::Shutdown::Write).unwrap();
    silent.rest();
    await_all(&mut listener, 1);
    let other = Asker::user(addr, "sys");
    await_all(&mut listener, 3);
    leave(other);
    await_all(&mut listener, 3);
    // Logs in to another account: one goes from there and comes here.
    let mut client = Asker::user(addr, "b");
    await_all(&mut listener, 3);
    client.raw.send("CONNECT {\"user\":\"a\",\"pass\":\"a\",\"verbose\":false}\r\nPING\r\n");
    client.raw.until("PONG\r\n");
    await_all(&mut listener, 5);
    let kick = format!("{{\"cid\":{}}}", client.cid);
    let subject = format!("$SYS.REQ.SERVER.{}.KICK", listener.id);
    listener.raw.send(format!("PUB {subject} _INBOX.kick {}\r\n{kick}\r\n", kick.len()));
    await_all(&mut listener, 3);
    assert_eq!(client.raw.rest(), "", "it is told nothing");
    events
}

#[test]
fn events_are_those_of_the_reference_server() {
    let (ours, file) = ours(CONFIG);
    let found = events(ours.addr());
    let subjects: Vec<&str> = found.iter().map(|(subject, _)| subject.as_str()).collect();
    let conns = |account: &str| {
        [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")]
    };
    let mut expected = Vec::new();
    let mut add = |list: &[String]| expected.extend_from_slice(list);
    for (account, events) in [("A", ["CONNECT", "DISCONNECT"]), ("SYS", ["CONNECT", "DISCONNECT"])] {
        for event in events {
            add(&conns(account));
            add(&[format!("$SYS.ACCOUNT.{account}.{event}")]);
        }
        if account == "A" {
            let refused = "$SYS.ACCOUNT.$G.DISCONNECT".to_owned();
            add(&["$SYS.SERVER.ID.CLIENT.AUTH.ERR".to_owned(), refused.clone(), refused]);
        }
    }
    add(&conns("B"));
    add(&["$SYS.ACCOUNT.B.CONNECT".to_owned()]);
    add(&conns("B"));
    for event in ["CONNECT", "DISCONNECT"] {
        add(&conns("A"));
        add(&[format!("$SYS.ACCOUNT.A.{event}")]);
    }
    assert_eq!(subjects, expected);
    let of = |subject: &str| -> Vec<&Value> {
        found.iter().filter(|(own, _)| own == subject).map(|(_, event)| event).collect()
    };
    let left = of("$SYS.ACCOUNT.A.DISCONNECT")[0];
    assert_eq!((&left["reason"], &left["received"]["bytes"]), (&"Client Closed".into(), &3.into()));
    assert_eq!((&left["client"]["user"], &left["client"]["name"]), (&"a".into(), &"asker".into()));
    assert_eq!(of("$SYS.ACCOUNT.A.DISCONNECT")[1]["reason"], "Kicked");
    let counts: Vec<&Value> = of("$SYS.SERVER.ACCOUNT.A.CONNS").iter().map(|event| &event["conns"]).collect();
    assert_eq!(counts, [1, 0, 1, 0]);
    assert!(!found.iter().any(|(_, event)| event.to_string().contains("wrong")), "no password is passed on");

    let Some(theirs) = reference(&file) else { return };
    // There the event of a refusal may overtake that of the end, or be overtaken.
    let compared = |events: Vec<(String, Value)>| {
        let mut events: Vec<_> = events
            .into_iter()
            .map(|(subject, event)| (subject, event["reason"].to_string(), comparable(&event)))
            .collect();
        events.sort();
        events
    };
    assert_eq!(compared(found), compared(events(theirs.addr)));
}

/// The reference sends these, too: the first of them within a second.
#[test]
fn figures_come_regularly_and_the_end_is_announced() {
    let (server, _file) = ours(CONFIG);
    let mut listener = Asker::user(server.addr(), "sys");
    listener.raw.send("SUB $SYS.SERVER.*.* 1\r\n");
    for _ in 0..2 {
        let word = listener.word();
        assert_eq!(word.subject, format!("$SYS.SERVER.{}.STATSZ", listener.id));
        assert_eq!(
            (&word.json()["statsz"]["connections"], &word.json()["server"]["name"]),
            (&1.into(), &"probe".into())
        );
    }
    let mut next = |what: &str| {
        let word = loop {
            let word = listener.word();
            if !word.subject.ends_with("STATSZ") {
                break word;
            }
        };
        assert_eq!(word.subject, format!("$SYS.SERVER.{}.{what}", listener.id));
        assert_eq!(word.json()["id"], listener.id.as_str());
    };
    server.lame_duck();
    next("LAMEDUCK");
    server.shutdown();
    next("SHUTDOWN");
}

/// One client is asked to go elsewhere; the others hear nothing of it.
#[test]
fn one_client_is_sent_away() {
    let (server, _file) = ours(CONFIG);
    let mut system = Asker::user(server.addr(), "sys");
    let login = r#"{"user":"a","pass":"a","verbose":false,"protocol":1}"#;
    let mut raw = Raw::open(server.addr());
    let info = raw.until("\r\n");
    let info: Value = serde_json::from_str(info.trim_start_matches("INFO ")).unwrap();
    raw.send(format!("CONNECT {login}\r\nPING\r\n"));
    raw.until("PONG\r\n");
    // The second INFO.
    assert!(!raw.until("\r\n").contains("\"ldm\""));
    let done = system.answer("$SYS.REQ.SERVER.ID.LDM", &format!("{{\"cid\":{}}}", info["client_id"])).json();
    assert_eq!((done.get("error"), done["server"]["name"].as_str()), (None, Some("probe")));
    assert!(raw.until("\r\n").contains("\"ldm\":true"));
    let mut late = Raw::open(server.addr());
    assert!(!late.until("\r\n").contains("\"ldm\""), "the server itself stays");
    // A command needs no reply.
    let kick = format!("{{\"cid\":{}}}", info["client_id"]);
    let subject = format!("$SYS.REQ.SERVER.{}.KICK", system.id);
    system.raw.send(format!("PUB {subject} {}\r\n{kick}\r\n", kick.len()));
    assert_eq!(raw.rest(), "");
}

#[test]
fn ordinary_clients_hear_of_nobody_else() {
    let narrow = Permissions {
        publish: Rules::only(["out.*"]),
        subscribe: Rules::only(["_INBOX.>"]),
        ..Permissions::default()
    };
    let users = vec![User::new("u", "u"), User { permissions: Some(narrow), ..User::new("n", "n") }];
    let server = Server::start(Options { users, ..options() }).unwrap();
    let mut asker = Asker::user(server.addr(), "u");
    let data = asker.answer("$SYS.REQ.USER.INFO", "").json()["data"].clone();
    assert_eq!(data, serde_json::json!({ "user": "u", "account": "$G", "account_name": "$G" }));
    for subject in [
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.ACCOUNT.PING.STATZ",
        "$SYS.REQ.SERVER.PING.CONNZ",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.ID.KICK",
        "$SYS.REQ.ACCOUNT.$G.CONNZ",
        "$SYS.REQ.USER.u.INFO",
    ] {
        assert!(asker.answer(subject, "").nobody, "{subject}");
    }
    // They see no events, and the subjects are theirs like any others.
    asker.raw.send("SUB $SYS.> all\r\nPING\r\n");
    asker.raw.until("PONG\r\n");
    let mut other = Asker::user(server.addr(), "n");
    other.raw.send("PUB $SYS.REQ.USER.INFO _INBOX.1 0\r\n\r\nPING\r\n");
    assert!(other.raw.until("PONG\r\n").starts_with("-ERR 'Permissions Violation for Publish to"));
    drop(other);
    eventually("it is gone", || server.stats().connections == 1);
    asker.raw.send("PUB $SYS.ACCOUNT.A.CONNECT 1\r\nx\r\n");
    let word = asker.word();
    assert_eq!((word.subject.as_str(), word.body.as_str()), ("$SYS.ACCOUNT.A.CONNECT", "x"));
}

#[test]
fn who_names_only_system_users_lets_everybody_else_in() {
    let account = Account { name: "$SYS".into(), users: vec![User::new("s", "s")], nkeys: Vec::new() };
    let server = Server::start(Options { accounts: vec![account], ..options() }).unwrap();
    let mut asker = Asker::new(server.addr(), "");
    assert_eq!(asker.answer("$SYS.REQ.USER.INFO", "").json()["data"]["account"], "$G");
    assert!(asker.answer("$SYS.REQ.SERVER.PING", "").nobody);
    let mut system = Asker::user(server.addr(), "s");
    assert_eq!(system.answer("$SYS.REQ.SERVER.PING", "").json()["statsz"]["connections"], 2);
    // Accounts beside it, or the block of the configuration that is about users, close the door.
    let system = r#"$SYS: { users: [{user: s, password: s}] }"#;
    for (closed, config) in [
        (false, format!("accounts {{ {system} }}")),
        (true, format!("accounts {{ {system}, A: {{ users: [] }} }}")),
        (true, format!("accounts {{ {system} }}\nauthorization {{ timeout: 3 }}")),
        (false, "authorization { timeout: 3 }".to_owned()),
    ] {
        let (ours, file) = ours(&config);
        let refused = |addr| {
            let mut raw = Raw::open(addr);
            raw.send("PING\r\n");
            let (said, ended) = raw.until_or_end("PONG\r\n");
            ended && said.ends_with("-ERR 'Authorization Violation'\r\n")
        };
        assert_eq!(refused(ours.addr()), closed, "{config}");
        if let Some(theirs) = reference(&file) {
            assert_eq!(refused(theirs.addr), closed, "{config}");
        }
    }
    let missing = Options { system_account: Some("nope".into()), ..options() };
    assert!(Server::start(missing).unwrap_err().to_string().contains("system_account"));
}

/// Only so many requests wait; to the rest nobody responds, and whoever asks knows.
#[test]
fn a_flood_of_requests_is_bounded() {
    const REQUESTS: usize = 2_000;
    let (server, _file) = ours(CONFIG);
    let mut system = Asker::user(server.addr(), "sys");
    let flood: String = (0..REQUESTS)
        .map(|number| format!("PUB $SYS.REQ.SERVER.PING.CONNZ {}.flood.{number} 0\r\n\r\n", system.inbox))
        .collect();
    system.raw.send(flood);
    let mut open: BTreeSet<String> =
        (0..REQUESTS).map(|number| format!("{}.flood.{number}", system.inbox)).collect();
    let mut made = 0;
    while !open.is_empty() {
        let word = system.word();
        assert!(open.remove(&word.subject), "{word:?}");
        made += usize::from(!word.nobody);
    }
    assert!(made > 0, "nobody was answered");
    assert_eq!(system.answer("$SYS.REQ.SERVER.PING.VARZ", "").json()["data"]["connections"], 1);
}

/// A listener that does not read is dropped like any other; a storm does not grow without end.
#[test]
fn a_storm_of_events_is_bounded() {
    let account = Account { name: "$SYS".into(), users: vec![User::new("s", "s")], nkeys: Vec::new() };
    let limits = Options { max_payload: 4096, max_pending: 64 * 1024, ..options() };
    let server = Server::start(Options { accounts: vec![account], ..limits }).unwrap();
    let mut deaf = Asker::user(server.addr(), "s");
    deaf.raw.send("SUB $SYS.> 1\r\nSUB $SYS.> 2\r\nSUB $SYS.> 3\r\nSUB $SYS.> 4\r\nPING\r\n");
    deaf.raw.until("PONG\r\n");
    for count in 0.. {
        if server.stats().slow_consumers == 1 {
            break;
        }
        assert!(count < 50_000, "it is never dropped");
        drop(Asker::new(server.addr(), ""));
    }
    let mut asker = Asker::new(server.addr(), "");
    assert!(!asker.answer("$SYS.REQ.USER.INFO", "").nobody);
}

#[test]
fn operator_mode() {
    let world = World::new();
    let (server, reference) = (world.server(), world.reference());
    let user = world.user(&world.account, |claims| {
        claims.exp = crate::world::now() + 1000;
        claims.nats.terms.permissions.publish.allow = vec!["$SYS.>".into(), "x".into()];
    });
    let system = world.user(&world.system, |_| {});
    let more = r#""headers":true,"no_responders":true,"name":"asker""#;
    let ask = |addr| {
        let asker = |user: &crate::world::User| {
            let mut raw = user.log_in_with(addr, more);
            let inbox = format!("_INBOX.{}", user.keys.public_key());
            raw.send(format!("SUB {inbox}.> in\r\nPING\r\n"));
            raw.until("PONG\r\n");
            Asker { raw, inbox, id: String::new(), cid: 0, asked: 0 }
        };
        let (mut user, mut system) = (asker(&user), asker(&system));
        let mut answers = vec![user.answer("$SYS.REQ.USER.INFO", "").json()];
        answers.push(system.answer("$SYS.REQ.USER.INFO", "").json());
        let claims = AccountClaims::new(world.account.public_key(), "renamed").sign(&world.operator).unwrap();
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", world.account.public_key());
        answers.push(system.answer(&subject, &claims).json());
        answers.push(system.answer(&subject, "no.jwt.there").json());
        let subject = format!("$SYS.REQ.ACCOUNT.{}.STATZ", world.account.public_key());
        answers.push(system.answer(&subject, "").json());
        assert!(
            system.answer("$SYS.REQ.CLAIMS.LIST", "").nobody
                && user.answer("$SYS.REQ.SERVER.PING", "").nobody
        );
        answers
    };
    let found = ask(server.addr());
    assert_eq!(found[0]["data"]["account_name"], "main");
    assert!(found[0]["data"]["expires"].as_u64().unwrap() > 900_000_000_000);
    assert_eq!(found[2]["data"]["code"], 200, "{found:?}");
    assert_eq!(found[4]["data"]["account_statz"][0]["name"], "renamed");
    let Some((theirs, _file)) = reference else { return };
    let expected = ask(theirs.addr);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(comparable(found), comparable(expected), "\n{found}\n{expected}");
        for key in ["account", "account_name", "user", "user_name", "permissions", "code", "message"] {
            let (found, expected) = (in_order(&found["data"][key]), in_order(&expected["data"][key]));
            assert_eq!(found, expected, "{key}");
        }
    }
    assert_eq!(CloseReason::Kicked.to_string(), "Kicked");
}
