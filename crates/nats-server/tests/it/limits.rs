//! Limits, time, observers, and clients that behave badly.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bacalhau_nats_server::{CloseReason, ConnInfo, Events, Options, Server, User};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Raw, eventually, next, options, server};
use crate::wire::PLAIN;

#[test]
fn too_many_connections_and_subscriptions() {
    let server = Server::start(Options { max_connections: 2, max_subscriptions: 2, ..options() }).unwrap();
    let mut one = Raw::connected(server.addr(), PLAIN);
    let two = Raw::connected(server.addr(), PLAIN);
    let mut three = Raw::open(server.addr());
    let seen = three.rest();
    assert!(seen.starts_with("INFO ") && seen.ends_with("-ERR 'maximum connections exceeded'\r\n"), "{seen}");
    drop((two, three));
    eventually("room again", || server.stats().connections == 1);
    one.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nUNSUB 1\r\nSUB d 4\r\nPING\r\n");
    assert_eq!(one.until("PONG\r\n"), "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
    eventually("counted", || server.stats().refused_connections == 1);
}

#[test]
fn subjects_with_too_many_tokens_are_refused() {
    let server = Server::start(Options { max_subscription_tokens: 3, ..options() }).unwrap();
    let mut raw = Raw::connected(server.addr(), PLAIN);
    raw.send("SUB a.b.c 1\r\nSUB a.b.c.d q 2\r\nSUB a..b.c 3\r\nPUB a.b.c 1\r\nx\r\nPUB a.b.c.d 1\r\nx\r\nPING\r\n");
    let refused = |subject| {
        format!("-ERR 'Permissions Violation for Subscription to \"{subject}\", too many tokens'\r\n")
    };
    let expected = format!("{}{}MSG a.b.c 1 1\r\nx\r\nPONG\r\n", refused("a.b.c.d"), refused("a..b.c"));
    assert_eq!(raw.until("PONG\r\n"), expected);
}

#[test]
fn silence_before_login_ends() {
    let options = Options { token: Some("t".into()), auth_timeout: Duration::from_millis(50), ..options() };
    let server = Server::start(options).unwrap();
    let mut raw = Raw::open(server.addr());
    assert!(raw.rest().ends_with("-ERR 'Authentication Timeout'\r\n"));
    eventually("counted", || server.stats().auth_failures == 1);
}

#[test]
fn who_is_let_in_without_showing_anything_must_say_something() {
    let options = Options {
        users: vec![User::new("guest", "g")],
        no_auth_user: Some("guest".into()),
        auth_timeout: Duration::from_millis(50),
        ..options()
    };
    let server = Server::start(options).unwrap();
    assert!(Raw::open(server.addr()).rest().ends_with("-ERR 'Authentication Timeout'\r\n"));
    let mut speaks = Raw::open(server.addr());
    speaks.send("SUB a 1\r\n");
    let mut logs_in = Raw::connected(server.addr(), PLAIN);
    assert!(Raw::open(server.addr()).rest().ends_with("-ERR 'Authentication Timeout'\r\n"));
    for stays in [&mut speaks, &mut logs_in] {
        stays.send("PING\r\n");
        stays.until("PONG\r\n");
    }
}

#[test]
fn who_does_not_answer_is_stale() {
    let options = Options { ping_interval: Duration::from_millis(30), ping_max: 2, ..options() };
    let server = Server::start(options).unwrap();
    let mut dead = Raw::connected(server.addr(), PLAIN);
    assert_eq!(dead.rest(), "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    eventually("counted", || server.stats().stale_connections == 1);
    // Time to answer also on a machine that does other things.
    let patient =
        Options { ping_interval: Duration::from_millis(30), ping_max: 50, ..crate::support::options() };
    let server = Server::start(patient).unwrap();
    let mut alive = Raw::connected(server.addr(), PLAIN);
    for _ in 0..60 {
        alive.until("PING\r\n");
        alive.send("PONG\r\n");
    }
    // Whoever only answers goes on being asked, however often it answers.
    let mut eager = Raw::connected(server.addr(), PLAIN);
    let mut answers = eager.stream.try_clone().unwrap();
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let answering = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
            answers.write_all(b"PONG\r\n").unwrap();
        }
    });
    for _ in 0..4 {
        eager.until("PING\r\n");
    }
    drop(stop);
    answering.join().unwrap();
}

#[test]
fn a_reader_that_is_stuck_is_dropped_and_nobody_else() {
    let options = Options { max_pending: 1_000_000, max_payload: 65_536, ..options() };
    let server = Server::start(options).unwrap();
    let mut stuck = Raw::connected(server.addr(), PLAIN);
    stuck.send("SUB flood 1\r\nPING\r\n");
    stuck.until("PONG\r\n");
    let mut healthy = Raw::connected(server.addr(), PLAIN);
    healthy.send("SUB calm 1\r\nPING\r\n");
    healthy.until("PONG\r\n");
    let mut publisher = Raw::connected(server.addr(), PLAIN);
    let message = [b"PUB flood 60000\r\n".as_slice(), &[b'x'; 60_000], b"\r\n"].concat();
    // Until the sockets' buffers and then the server's limit are full.
    while server.stats().slow_consumers == 0 {
        publisher.stream.write_all(&message).unwrap();
    }
    publisher.send("PUB calm 2\r\nok\r\nPING\r\n");
    publisher.until("PONG\r\n");
    assert_eq!(healthy.until("ok\r\n"), "MSG calm 1 2\r\nok\r\n");
    let stats = server.stats();
    assert!(stats.stalls > 0, "the publisher was held back first");
    assert_eq!((stats.slow_consumers, stats.connections), (1, 2));
}

#[test]
fn a_socket_that_takes_nothing_meets_its_deadline() {
    let options = Options { write_deadline: Duration::from_millis(100), ..options() };
    let server = Server::start(options).unwrap();
    let mut stuck = Raw::connected(server.addr(), PLAIN);
    stuck.send("SUB flood 1\r\nPING\r\n");
    stuck.until("PONG\r\n");
    let client = server.local_client("p");
    let payload = bytes::Bytes::from(vec![0u8; 1024 * 1024]);
    // More than any socket buffer here takes, less than max_pending.
    for _ in 0..24 {
        client.publish("flood", None, None, payload.clone()).unwrap();
    }
    eventually("dropped", || server.stats().slow_consumers == 1 && server.stats().connections == 0);
}

#[test]
fn a_fast_publisher_is_held_back_and_a_late_reader_gets_everything() {
    let options = Options { max_pending: 16_000_000, max_payload: 100_000, ..options() };
    let server = Server::start(options).unwrap();
    let mut reader = Raw::connected(server.addr(), PLAIN);
    reader.send("SUB flood 1\r\nPING\r\n");
    reader.until("PONG\r\n");
    let addr = server.addr();
    let total = 500;
    let publisher = std::thread::spawn(move || {
        let mut publisher = Raw::connected(addr, PLAIN);
        let message = [b"PUB flood 100000\r\n".as_slice(), &[b'x'; 100_000], b"\r\n"].concat();
        for _ in 0..total {
            publisher.stream.write_all(&message).unwrap();
        }
        publisher.send("PUB flood 3\r\nend\r\nPING\r\n");
        publisher.until("PONG\r\n");
    });
    eventually("held back", || server.stats().stalls > 0);
    let expected = total * ("MSG flood 1 100000\r\n".len() + 100_000 + 2) + "MSG flood 1 3\r\nend\r\n".len();
    let mut seen = vec![0; expected];
    reader.stream.read_exact(&mut seen).unwrap();
    assert!(seen.ends_with(b"MSG flood 1 3\r\nend\r\n"));
    publisher.join().unwrap();
    assert_eq!(server.stats().slow_consumers, 0);
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Events for Log {
    fn connected(&self, conn: &ConnInfo) {
        self.0.lock().unwrap().push(format!("+{}", conn.name));
    }

    fn disconnected(&self, conn: &ConnInfo, reason: CloseReason) {
        self.0.lock().unwrap().push(format!("-{} {reason}", conn.name));
    }

    fn auth_failed(&self, _: SocketAddr, reason: CloseReason) {
        self.0.lock().unwrap().push(format!("!{reason}"));
    }
}

#[test]
fn observers_learn_at_once() {
    let log = Arc::new(Log::default());
    let options = Options { token: Some("t".into()), events: Some(log.clone()), ..options() };
    let server = Server::start(options).unwrap();
    let connect = |name: &str| format!(r#"{{"verbose":false,"auth_token":"t","name":"{name}"}}"#);
    let first = Raw::connected(server.addr(), &connect("n-1"));
    drop(first);
    eventually("gone", || log.0.lock().unwrap().len() == 2);
    let mut second = Raw::connected(server.addr(), &connect("n-2"));
    second.send("BAD\r\n");
    second.rest();
    let mut third = Raw::open(server.addr());
    third.send("CONNECT {\"auth_token\":\"no\"}\r\n");
    third.rest();
    let _fourth = Raw::connected(server.addr(), &connect("n-4"));
    server.shutdown();
    let expected = [
        "+n-1",
        "-n-1 Client Closed",
        "+n-2",
        "-n-2 Parse Error",
        "!Authentication Failure",
        "+n-4",
        "-n-4 Server Shutdown",
    ];
    assert_eq!(*log.0.lock().unwrap(), expected);
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let server = server();
    let again = Server::start(Options { port: server.addr().port(), ..options() });
    let text = again.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains(&server.addr().to_string()), "{text}");
}

/// Hostile bytes end one connection; the others go on, and nothing of it stays.
#[test]
fn garbage_harms_only_its_sender() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let client = server.local_client("witness");
    let mut sub = client.subscribe("witness").unwrap();
    let mut witness = Raw::connected(server.addr(), PLAIN);
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        "(PUB|HPUB|SUB|UNSUB|CONNECT|INFO|-ERR|PING) [a-z.*> 0-9{}:\"-]{0,30}\r\n"
            .prop_map(String::into_bytes),
        Just(b"SUB > 1\r\n".to_vec()),
        Just(b"PUB a.b r 3\r\nabc\r\n".to_vec()),
    ];
    let pieces = proptest::collection::vec(piece, 1..20);
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    let result = runner.run(&pieces, |pieces| {
        let mut hostile = Raw::open(server.addr());
        for piece in pieces {
            hostile.send(piece);
        }
        drop(hostile);
        Ok(())
    });
    result.unwrap();
    eventually("all gone", || server.stats().connections == 1 && server.stats().subscriptions == 1);
    witness.send("PUB witness 2\r\nok\r\nPING\r\n");
    witness.until("PONG\r\n");
    assert_eq!(&runtime.block_on(next(&mut sub)).payload[..], b"ok");
}

/// What was published before the shutdown arrives, also at a reader that is late.
#[test]
fn shutdown_sends_what_is_queued() {
    let server = server();
    let mut reader = Raw::connected(server.addr(), PLAIN);
    reader.send("SUB x 1\r\nPING\r\n");
    reader.until("PONG\r\n");
    let client = server.local_client("c");
    let payload = bytes::Bytes::from(vec![b'x'; 1_000_000]);
    for _ in 0..4 {
        client.publish("x", None, None, payload.clone()).unwrap();
    }
    eventually("routed", || server.stats().out_msgs == 4);
    let reading = std::thread::spawn(move || reader.rest().len());
    server.shutdown();
    assert_eq!(reading.join().unwrap(), 4 * (1_000_000 + "MSG x 1 1000000\r\n".len() + 2));
    assert_eq!(server.stats().connections, 0);
}

struct Panics;

impl Events for Panics {
    fn connected(&self, _: &ConnInfo) {
        panic!("on purpose");
    }
}

#[test]
fn an_observer_that_panics_does_not_stop_the_server() {
    let server = Server::start(Options { events: Some(Arc::new(Panics)), ..options() }).unwrap();
    for _ in 0..3 {
        Raw::connected(server.addr(), PLAIN);
    }
}

#[test]
fn expensive_publications_leave_turns_to_others() {
    let server = server();
    let mut victim = Raw::connected(server.addr(), PLAIN);
    let mut costly = Raw::connected(server.addr(), PLAIN);
    // All patterns agree with the subject but for its last token, so that a search must follow every one of them.
    const TOKENS: usize = 15;
    let subscriptions: String = (0..1 << TOKENS)
        .map(|n| {
            let token = |bit: usize| if n >> bit & 1 == 1 { "*." } else { "a." };
            format!("SUB {}end {n}\r\n", (0..TOKENS).map(token).collect::<String>())
        })
        .collect();
    costly.send(subscriptions + "PING\r\n");
    costly.until("PONG\r\n");
    const MESSAGES: u64 = 500;
    let publications: String =
        (0..MESSAGES).map(|n| format!("PUB {}{n} 0\r\n\r\n", "a.".repeat(TOKENS))).collect();
    costly.send(publications);
    eventually("it has begun", || server.stats().in_msgs > 0);
    victim.send("PING\r\n");
    victim.until("PONG\r\n");
    let done = server.stats().in_msgs;
    assert!(done < MESSAGES, "the victim had to wait for the whole batch");
}

#[test]
fn a_lame_duck_sends_its_clients_away_one_by_one() {
    let options = Options {
        lame_duck_grace_period: Duration::from_millis(50),
        lame_duck_duration: Duration::from_millis(250),
        connect_urls: vec!["10.0.0.1:4222".into()],
        ..options()
    };
    let server = Server::start(options).unwrap();
    let connect = "{\"verbose\":false,\"protocol\":1}";
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connected(server.addr(), connect)).collect();
    clients.iter_mut().for_each(|client| drop(client.until("\r\n")));
    server.lame_duck();
    for client in &mut clients {
        let info = client.until("\r\n");
        assert!(info.contains("\"ldm\":true") && !info.contains("connect_urls"), "{info}");
    }
    assert!(std::net::TcpStream::connect(server.addr()).is_err(), "nobody comes in");
    // Until then they are served.
    clients[0].send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
    assert_eq!(clients[0].until("hi\r\n"), "MSG a 1 2\r\nhi\r\n");
    server.wait();
    assert_eq!(server.stats().connections, 0);
    assert!(clients.iter_mut().all(|client| client.rest().is_empty()));
}
