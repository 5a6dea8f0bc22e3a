//! Large messages to many: all get the same bytes, whatever they can read and how slow they are, and the server holds
//! them once.

use std::io::Read;

use bacalhau_nats_server::{Options, Server};

use crate::support::{Raw, eventually, options, server};
use crate::wire::PLAIN;

/// Cannot read headers.
const OLD: &str = r#"{"verbose":false,"pedantic":false}"#;

fn body(number: usize, size: usize) -> String {
    (0..size).map(|at| char::from(b'a' + ((at + number) % 26) as u8)).collect()
}

/// Everything to a PONG at the end. Looks at the end only: there is much to read.
fn to_pong(raw: &mut Raw) -> String {
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    while !seen.ends_with(b"PONG\r\n") {
        let count = raw.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {} bytes", seen.len());
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn slow_and_quick_receivers_get_the_same_bytes_in_order() {
    let server = server();
    let mut receivers: Vec<Raw> = [PLAIN, PLAIN, PLAIN, OLD, PLAIN, OLD]
        .into_iter()
        .map(|connect| {
            let mut raw = Raw::connected(server.addr(), connect);
            raw.send("SUB many.* 7\r\nPING\r\n");
            raw.until("PONG\r\n");
            raw
        })
        .collect();
    let mut publisher = Raw::connected(server.addr(), PLAIN);
    let (mut with_headers, mut without) = (String::new(), String::new());
    // Sizes around the border of sharing, with a reply and without, with headers and without; too much for the sockets'
    // buffers, so that queues are written in pieces.
    for number in 0..600 {
        let body = body(number, [4095, 3, 4096, 20_000, 0, 9_000][number % 6]);
        let reply = if number % 4 == 0 { "answer " } else { "" };
        let plain = format!("MSG many.x 7 {reply}{}\r\n{body}\r\n", body.len());
        if number % 5 == 0 {
            let head = "NATS/1.0\r\nA: b\r\n\r\n";
            let sizes = format!("{} {}", head.len(), head.len() + body.len());
            publisher.send(format!("HPUB many.x {reply}{sizes}\r\n{head}{body}\r\n"));
            with_headers += &format!("HMSG many.x 7 {reply}{sizes}\r\n{head}{body}\r\n");
        } else {
            publisher.send(format!("PUB many.x {reply}{}\r\n{body}\r\n", body.len()));
            with_headers += &plain;
        }
        without += &plain;
    }
    publisher.send("PING\r\n");
    publisher.until("PONG\r\n");
    for (number, raw) in receivers.iter_mut().enumerate() {
        raw.send("PING\r\n");
        let expected = if number == 3 || number == 5 { &without } else { &with_headers };
        // The server's own first question may be anywhere between.
        let seen = to_pong(raw).replace("PING\r\n", "");
        let expected = format!("{expected}PONG\r\n");
        let same = seen.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
        assert!(
            seen == expected,
            "receiver {number} got other bytes from {same} on, {} instead of {}: {:?}",
            seen.len(),
            expected.len(),
            &seen[same.saturating_sub(100)..seen.len().min(same + 100)]
        );
    }
}

#[test]
fn what_all_wait_for_is_held_once() {
    // Each is sent 13 MB, of which its socket takes the lesser half. Copies of the rest would be twice what is allowed.
    let server = Server::start(Options { max_buffered: 16_000_000, ..options() }).unwrap();
    let mut receivers: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::connected(server.addr(), PLAIN);
            raw.send("SUB many 1\r\nPING\r\n");
            raw.until("PONG\r\n");
            raw
        })
        .collect();
    let mut publisher = Raw::connected(server.addr(), PLAIN);
    let message = format!("PUB many 16000\r\n{}\r\n", body(0, 16_000));
    for _ in 0..800 {
        publisher.send(&message);
    }
    publisher.send("PING\r\n");
    publisher.until("PONG\r\n");
    let expected = "MSG many 1 16000\r\n".len() + 16_000 + 2;
    for raw in &mut receivers {
        raw.send("PING\r\n");
        assert!(to_pong(raw).len() >= 800 * expected);
    }
    eventually("all counted", || server.stats().out_msgs == 800 * 8);
}
