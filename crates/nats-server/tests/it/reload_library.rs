//! Reload as embedders use it: with options instead of a file, and beside the functions that replace one thing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bacalhau_nats_server::jwt::{KeyPair, Role};
use bacalhau_nats_server::{CloseReason, ConnInfo, Error, Events, Options, Permissions, Rules, Server, User};

use crate::support::{PATIENCE, Raw, eventually, options, server};
use crate::users::{log_in, user};
use crate::wire::PLAIN;

const ANN: &str = r#"{"verbose":false,"user":"ann","pass":"p"}"#;

fn ann(subscribe: &[&str]) -> Vec<User> {
    let subscribe = Rules::only(subscribe.iter().copied());
    let permissions = Permissions { subscribe, ..Permissions::default() };
    vec![User { permissions: Some(permissions), ..User::new("ann", "p") }]
}

/// What a client is told of by a PING.
fn ping(raw: &mut Raw) -> String {
    raw.send("PING\r\n");
    raw.until("PONG\r\n")
}

#[test]
fn what_was_set_one_by_one_is_not_lost() {
    let server = server();
    let key = KeyPair::generate(Role::User).unwrap();
    server.set_nkeys(vec![user(&key, &["a"])]).unwrap();
    server.set_connect_urls(vec!["one:1".into()]);
    let (mut first, said) = log_in(&server, &key);
    assert_eq!(said, "PONG\r\n");
    let done = server.reload(Options { max_payload: 100, ..server.options() }).unwrap();
    assert_eq!(done.changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["max_payload = 100"]);
    assert_eq!(ping(&mut first), "PONG\r\n");
    let info = Raw::open(server.addr()).until("\r\n");
    assert!(info.contains("\"connect_urls\":[\"one:1\"]") && info.contains("\"max_payload\":100,"), "{info}");
    assert!(info.contains("\"auth_required\":true"), "{info}");
    // And what was reloaded stays when one thing is set.
    let other = KeyPair::generate(Role::User).unwrap();
    server.set_nkeys(vec![user(&key, &["a"]), user(&other, &["b"])]).unwrap();
    server.set_connect_urls(vec!["two:2".into()]);
    server.reload_tls().unwrap();
    assert_eq!(server.options().nkeys.len(), 2);
    let (mut second, said) = log_in(&server, &other);
    assert_eq!(said, "PONG\r\n");
    second.send("PUB b 101\r\n");
    assert_eq!(second.rest(), "-ERR 'Maximum Payload Violation'\r\n");
    // Options that know nothing of the keys take them away, without a word.
    server.reload(Options { closed: true, ..options() }).unwrap();
    assert_eq!(first.rest(), "");
    assert_eq!(log_in(&server, &key).1, "-ERR 'Authorization Violation'\r\n");
}

#[test]
fn new_permissions_of_an_nkey_hold_at_once() {
    let server = server();
    let key = KeyPair::generate(Role::User).unwrap();
    server.set_nkeys(vec![user(&key, &["a", "b"])]).unwrap();
    let (mut raw, _) = log_in(&server, &key);
    raw.send("SUB a 1\r\nSUB b 2\r\n");
    assert_eq!(ping(&mut raw), "PONG\r\n");
    server.set_nkeys(vec![user(&key, &["b"])]).unwrap();
    let lost = "-ERR 'Permissions Violation for Subscription to \"a\" (sid \"1\")'\r\nPONG\r\n";
    assert_eq!(ping(&mut raw), lost);
    assert_eq!(server.stats().subscriptions, 1);
}

#[test]
fn nothing_changes_when_something_is_wrong() {
    let server = Server::start(Options { users: ann(&["a"]), ..options() }).unwrap();
    let mut raw = Raw::connected(server.addr(), ANN);
    let base = || Options { max_payload: 10, users: vec![User::new("bob", "p")], ..server.options() };
    let refused = server.reload(Options { port: 1, ..base() }).unwrap_err();
    assert!(matches!(refused, Error::NotReloadable { option: "port", .. }), "{refused}");
    let impossible = Options { max_control_line: 1, ..base() };
    assert!(server.reload(impossible).unwrap_err().to_string().contains("max_control_line"));
    let twice = Options { users: vec![User::new("bob", "p"), User::new("bob", "q")], ..base() };
    assert!(server.reload(twice).unwrap_err().to_string().contains("bob"));
    let missing = bacalhau_nats_server::TlsOptions::new("there-is-no.pem", "there-is-no.key");
    let missing = Options { tls: Some(missing), ..base() };
    assert!(server.reload(missing).unwrap_err().to_string().contains("there-is-no.pem"));
    raw.send("PUB a 11\r\nhello world\r\n");
    assert_eq!(ping(&mut raw), "PONG\r\n");
    assert_eq!((server.options().max_payload, server.options().users.len()), (1024 * 1024, 1));
    server.shutdown();
    assert!(matches!(server.reload(server.options()), Err(Error::Closed)));
}

#[test]
fn local_clients_follow_the_limits() {
    let server = Server::start(Options { max_payload: 10, max_control_line: 100, ..options() }).unwrap();
    let client = server.local_client("local");
    let (long, payload) = ("a".repeat(60), vec![0; 11]);
    assert!(client.publish("a", None, None, payload.clone()).is_err());
    assert!(client.publish(&long, None, None, "").is_err());
    server.reload(Options { max_payload: 11, max_control_line: 200, ..server.options() }).unwrap();
    eventually("the limits are other ones", || client.publish("a", None, None, payload.clone()).is_ok());
    assert!(client.publish(&long, None, None, "").is_ok());
}

#[test]
fn who_is_about_to_log_in_meets_the_new_rules() {
    let server = Server::start(Options { users: vec![User::new("ann", "old")], ..options() }).unwrap();
    let mut waiting = [(); 2].map(|()| {
        let mut raw = Raw::open(server.addr());
        raw.until("\r\n");
        raw
    });
    server.reload(Options { users: vec![User::new("ann", "p")], ..server.options() }).unwrap();
    let [good, bad] = &mut waiting;
    good.send(format!("CONNECT {ANN}\r\n"));
    assert_eq!(ping(good), "PONG\r\n");
    bad.send("CONNECT {\"verbose\":false,\"user\":\"ann\",\"pass\":\"old\"}\r\n");
    assert_eq!(bad.rest(), "-ERR 'Authorization Violation'\r\n");
    // Nobody has to show anything any more; and then everybody again.
    let mut late = Raw::open(server.addr());
    late.until("\r\n");
    server.reload(options()).unwrap();
    assert_eq!(ping(&mut late), "PONG\r\n");
    let closed = Options { token: Some("t".into()), ..options() };
    server.reload(closed).unwrap();
    assert_eq!(late.rest(), "-ERR 'Authorization Violation'\r\n");
}

/// The check of a hash takes a while; meanwhile its user goes, gets another password, or stays.
#[test]
fn a_password_that_is_being_checked() {
    let hash = bcrypt::hash("p", 9).unwrap();
    // Time enough for all checks on a busy machine.
    let with = |users| Options { users, closed: true, auth_timeout: PATIENCE, ..options() };
    let hashed = || User::new("ann", hash.clone());
    let narrow = || vec![User { permissions: ann(&["a"])[0].permissions.clone(), ..hashed() }];
    let refused = "-ERR 'Authorization Violation'\r\n";
    let denied = "-ERR 'Permissions Violation for Subscription to \"b\"'\r\nPONG\r\n";
    for (users, expected) in [
        (vec![User::new("bob", "p")], refused),
        (vec![User::new("ann", bcrypt::hash("q", 4).unwrap())], refused),
        (narrow(), denied),
    ] {
        let server = Server::start(with(vec![hashed()])).unwrap();
        // Several, so that some wait when the change comes.
        let mut open: Vec<Raw> = (0..3)
            .map(|_| {
                let mut raw = Raw::open(server.addr());
                raw.until("\r\n");
                raw.send(format!("CONNECT {ANN}\r\nSUB b 1\r\nPING\r\n"));
                raw
            })
            .collect();
        // Once the first has answered, the others are still being checked.
        assert_eq!(open[0].until("PONG\r\n"), "PONG\r\n");
        server.reload(with(users)).unwrap();
        let told = match expected == refused {
            true => open[2].rest(),
            false => open[2].until("PONG\r\n"),
        };
        assert_eq!(told, expected);
    }
}

/// While messages flow, a user loses a subscription and gets it back, again and again.
#[test]
fn nothing_is_delivered_that_is_not_allowed_any_more() {
    let server = Arc::new(Server::start(Options { users: ann(&["a", "b"]), ..options() }).unwrap());
    let local = server.local_client("publisher");
    let mut raw = Raw::connected(server.addr(), ANN);
    raw.send("SUB b b\r\n");
    for round in 0..50 {
        raw.send(format!("SUB a {round}\r\n"));
        assert_eq!(ping(&mut raw).matches("-ERR").count(), 0);
        for _ in 0..20 {
            local.publish("a", None, None, "x").unwrap();
        }
        server.reload(Options { users: ann(&["b"]), ..server.options() }).unwrap();
        // This comes after the change, so the client must not see it; but what is allowed must arrive.
        local.publish("a", None, None, "late").unwrap();
        local.publish("b", None, None, "end").unwrap();
        let heard = raw.until("end\r\n");
        assert!(!heard.contains("late"), "{heard}");
        assert_eq!(heard.matches("-ERR").count(), 1, "{heard}");
        server.reload(Options { users: ann(&["a", "b"]), ..server.options() }).unwrap();
    }
}

#[derive(Default)]
struct Meddler {
    server: OnceLock<Weak<Server>>,
    seen: Mutex<Vec<String>>,
}

impl Events for Meddler {
    /// On the loop thread, which must not wait for itself.
    fn connected(&self, _: &ConnInfo) {
        let Some(server) = self.server.get().and_then(Weak::upgrade) else { return };
        let done = server.reload(Options { max_payload: 50, ..server.options() });
        self.seen.lock().unwrap().push(format!("{}", done.is_ok()));
    }

    fn disconnected(&self, conn: &ConnInfo, reason: CloseReason) {
        self.seen.lock().unwrap().push(format!("{} {reason}", conn.user));
    }

    fn auth_failed(&self, _: SocketAddr, _: CloseReason) {}
}

#[test]
fn an_observer_may_reload_and_hears_of_ends() {
    let observer = Arc::new(Meddler::default());
    let with = Options { users: ann(&["a"]), events: Some(observer.clone()), ..options() };
    let server = Arc::new(Server::start(with).unwrap());
    observer.server.set(Arc::downgrade(&server)).unwrap();
    let mut raw = Raw::connected(server.addr(), ANN);
    raw.send("PUB a 51\r\n");
    assert_eq!(raw.rest(), "-ERR 'Maximum Payload Violation'\r\n");
    let mut raw = Raw::connected(server.addr(), ANN);
    server.reload(Options { users: vec![User::new("ann", "q")], ..server.options() }).unwrap();
    assert_eq!(raw.rest(), "-ERR 'Authorization Violation'\r\n");
    eventually("the observer has heard", || observer.seen.lock().unwrap().len() == 4);
    let seen = observer.seen.lock().unwrap();
    let expected = ["true", "ann Maximum Message Payload Exceeded", "true", "ann Authentication Failure"];
    assert_eq!(*seen, expected);
}

#[test]
fn those_who_came_last_go_first() {
    let server = server();
    let mut open: Vec<Raw> = (0..4).map(|_| Raw::connected(server.addr(), PLAIN)).collect();
    server.reload(Options { max_connections: 2, ..server.options() }).unwrap();
    for raw in &mut open[2..] {
        assert!(raw.rest().ends_with("-ERR 'maximum connections exceeded'\r\n"));
    }
    for raw in &mut open[..2] {
        assert!(ping(raw).ends_with("PONG\r\n"));
    }
    let mut more = Raw::open(server.addr());
    assert!(more.rest().ends_with("-ERR 'maximum connections exceeded'\r\n"));
}
