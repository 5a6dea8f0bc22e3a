//! Clients that mean harm, many at once, and clients that all come back at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bacalhau_nats_server::{CloseReason, ConnInfo, Events, Options, Server};

use crate::clients_of_benches::attackers::{Attacker, KINDS};
use crate::clients_of_benches::crowd::{Crowd, allow_many_files};
use crate::clients_of_benches::returning::Returning;
use crate::support::{PATIENCE, Raw, eventually, eventually_within, options, server};
use crate::wire::PLAIN;

/// Remembers why connections ended.
#[derive(Default)]
struct Ends(Mutex<Vec<CloseReason>>);

impl Events for Ends {
    fn disconnected(&self, _: &ConnInfo, reason: CloseReason) {
        self.0.lock().unwrap().push(reason);
    }
}

impl Ends {
    fn count(&self, reason: CloseReason) -> usize {
        self.0.lock().unwrap().iter().filter(|end| **end == reason).count()
    }
}

/// Stops the attack when it goes.
struct EndOfAttack<'a>(&'a AtomicBool);

impl Drop for EndOfAttack<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_hostile_clients_and_an_ordinary_one() {
    allow_many_files().unwrap();
    let options = Options {
        max_payload: 100_000,
        max_pending: 1_000_000,
        max_buffered: 20_000_000,
        max_total_subscriptions: 20_000,
        ..options()
    };
    let server = Server::start(options).unwrap();
    let mut ordinary = Raw::connected(server.addr(), PLAIN);
    ordinary.send("SUB own 1\r\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when something below fails.
        let _end = EndOfAttack(&stop);
        scope.spawn(|| {
            let attacker =
                |number: usize| Attacker::new(KINDS[number % KINDS.len()], number).with_payload(100_000);
            let mut crowd = Crowd::new(server.addr(), (0..1_000).map(attacker).collect()).unwrap();
            while !stop.load(Ordering::Relaxed) {
                crowd.turn(Duration::from_millis(5)).unwrap();
                crowd.prompt().unwrap();
            }
        });
        // The attack is in full swing: there are floods, and some were thrown out already. Who comes first decides
        // whether those who never read hold up their publishers or are too much for the memory of all.
        let in_swing = || {
            let stats = server.stats();
            let never_read = stats.stalls + stats.slow_consumers;
            stats.subscriptions > 10_000 && stats.protocol_errors > 1_000 && never_read > 10
        };
        let mut answered = 0;
        while answered < 2_000 || !in_swing() {
            ordinary.send(format!("PUB own 8\r\n{answered:08}\r\n"));
            let mut seen = ordinary.until("\r\n");
            if seen == "PING\r\n" {
                ordinary.send("PONG\r\n");
                seen = ordinary.until("\r\n");
            }
            assert_eq!(seen, "MSG own 1 8\r\n");
            assert_eq!(ordinary.until("\r\n"), format!("{answered:08}\r\n"));
            answered += 1;
            assert!(answered < 200_000, "the attack does not come up: {:?}", server.stats());
        }
        // Once the limit is reached each may have its share, those who had more keep it.
        assert!(server.stats().subscriptions <= 2 * 20_000, "{:?}", server.stats());
    });
    // What they had sent before they went is still read: that is much, and others use the machine as well.
    eventually_within(6 * PATIENCE, "nothing is left of them", || {
        let stats = server.stats();
        (stats.connections, stats.subscriptions) == (1, 1)
    });
}

#[test]
fn five_thousand_clients_come_back_at_once() {
    allow_many_files().unwrap();
    let server = server();
    let clients = 5_000;
    let mut crowd = Crowd::new(server.addr(), (0..clients).map(Returning::new).collect()).unwrap();
    for round in 0..3 {
        if round > 0 {
            crowd.drop_all().unwrap();
        }
        let start = Instant::now();
        while !crowd.members().all(|client| client.served) {
            crowd.turn(Duration::from_millis(100)).unwrap();
            assert!(start.elapsed() < 6 * PATIENCE, "not all are served: {:?}", server.stats());
        }
        let all = clients as u64;
        eventually("those of the round before are gone", || {
            let stats = server.stats();
            (stats.connections, stats.subscriptions) == (all, all)
        });
        assert_eq!(crowd.ended, 0, "nobody was thrown out");
    }
    drop(crowd);
    eventually("all gone", || (server.stats().connections, server.stats().subscriptions) == (0, 0));
}

#[test]
fn who_asks_and_never_reads_is_dropped() {
    let server = Server::start(Options { max_pending: 200_000, max_payload: 1_000, ..options() }).unwrap();
    let mut deaf = Raw::connected(server.addr(), PLAIN);
    let pings = b"PING\r\n".repeat(10_000);
    while server.stats().slow_consumers == 0 {
        deaf.send(&pings);
    }
    eventually("dropped", || server.stats().connections == 0);
}

#[test]
fn unfinished_messages_are_bounded_for_all_together() {
    let ends = Arc::new(Ends::default());
    let options = Options {
        max_payload: 1_000_000,
        max_pending: 1_000_000,
        max_buffered: 4_000_000,
        events: Some(ends.clone()),
        ..options()
    };
    let server = Server::start(options).unwrap();
    let mut small = Raw::connected(server.addr(), PLAIN);
    small.send(b"PUB a 1000\r\nhalf");
    let mut large: Vec<Raw> = (0..10).map(|_| Raw::connected(server.addr(), PLAIN)).collect();
    for raw in &mut large {
        raw.send(b"PUB a 900000\r\n");
        raw.send(vec![b'x'; 899_000]);
    }
    eventually("some had to go", || ends.count(CloseReason::MaxBufferedExceeded) > 0);
    // Who holds little is not touched, and who is left can finish.
    small.send([vec![b'x'; 996].as_slice(), b"\r\nPING\r\n"].concat());
    small.until("PONG\r\n");
    assert!(ends.count(CloseReason::MaxBufferedExceeded) < 10);
}

#[test]
fn subscriptions_are_bounded_for_all_together_and_shared() {
    let server = Server::start(Options { max_total_subscriptions: 100, ..options() }).unwrap();
    let mut greedy = Raw::connected(server.addr(), PLAIN);
    let mut modest = Raw::connected(server.addr(), PLAIN);
    let many: String = (0..101).map(|sid| format!("SUB a.{sid} {sid}\r\n")).collect();
    greedy.send(format!("{many}PING\r\n"));
    assert_eq!(greedy.until("PONG\r\n"), "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
    // Half of them would be its share.
    modest.send(format!("{many}PING\r\n"));
    let refusals = modest.until("PONG\r\n").matches("maximum subscriptions exceeded").count();
    assert_eq!(refusals, 101 - 50);
    eventually("counted", || server.stats().subscriptions == 150);
}

#[test]
fn many_subscriptions_leave_bit_by_bit_and_hear_nothing_meanwhile() {
    let server = server();
    for round in 0..20 {
        let mut many = Raw::connected(server.addr(), PLAIN);
        let lines: String = (0..5_000).map(|sid| format!("SUB a.{sid}.* {sid}\r\n")).collect();
        many.send(format!("{lines}PING\r\n"));
        many.until("PONG\r\n");
        drop(many);
        // The next connections must not get the number of the one that leaves, or they would get its messages.
        let mut next: Vec<Raw> = (0..3).map(|_| Raw::connected(server.addr(), PLAIN)).collect();
        let messages: String = (0..5_000).map(|sid| format!("PUB a.{sid}.x 1\r\nx\r\n")).collect();
        next[0].send(format!("{messages}PING\r\n"));
        assert_eq!(next[0].until("PONG\r\n"), "PONG\r\n", "round {round}");
        for raw in &mut next {
            raw.send("PING\r\n");
            assert_eq!(raw.until("PONG\r\n"), "PONG\r\n", "round {round}");
        }
    }
    eventually("all gone", || server.stats().subscriptions == 0);
}
