//! What is measured: messages or requests per second.

use super::Outcome;
use super::support::client::Connection;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// One line of the table.
pub struct Workload {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// One publisher at full speed; counts messages received by all subscribers together.
    Publish { subscribers: usize, messages: usize, size: usize },
    /// Each requester sends its next request when it has the answer; one responder for all.
    Request { requesters: usize, each: usize },
    /// Connections opened one after the other until they are welcome.
    Connect { connections: usize },
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "1 to 1, 16 B, messages/s",
        kind: Kind::Publish { subscribers: 1, messages: 2_000_000, size: 16 },
    },
    Workload {
        name: "1 to 1, 1 KiB, messages/s",
        kind: Kind::Publish { subscribers: 1, messages: 500_000, size: 1024 },
    },
    Workload {
        name: "1 to 10, 16 B, messages/s",
        kind: Kind::Publish { subscribers: 10, messages: 300_000, size: 16 },
    },
    Workload { name: "1 requester, requests/s", kind: Kind::Request { requesters: 1, each: 10_000 } },
    Workload { name: "50 requesters, requests/s", kind: Kind::Request { requesters: 50, each: 1_500 } },
    Workload { name: "connections/s", kind: Kind::Connect { connections: 1_000 } },
];

impl Workload {
    /// Per second.
    pub fn run(&self, address: SocketAddr) -> Outcome<f64> {
        let result = match self.kind {
            Kind::Publish { subscribers, messages, size } => publish(address, subscribers, messages, size),
            Kind::Request { requesters, each } => request(address, requesters, each),
            Kind::Connect { connections } => connect(address, connections),
        };
        result.map_err(|error| format!("{}: {error}", self.name).into())
    }
}

/// Frames that the publisher repeats, bytes.
const CHUNK: usize = 64 * 1024;

fn publish(address: SocketAddr, subscribers: usize, messages: usize, size: usize) -> Outcome<f64> {
    let frame = format!("PUB bench.subject {size}\r\n{}\r\n", "x".repeat(size));
    let delivered = format!("MSG bench.subject 1 {size}\r\n").len() + size + 2;
    let per_chunk = (CHUNK / frame.len()).clamp(1, messages);
    let chunk = frame.repeat(per_chunk);
    let mut publisher = Connection::open(address)?;
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let mut reader = Connection::open(address)?;
        reader.send(b"SUB bench.subject 1\r\n")?;
        reader.settle()?;
        readers.push(reader);
    }
    let started = Instant::now();
    thread::scope(|scope| {
        let readers: Vec<_> =
            readers.iter_mut().map(|reader| scope.spawn(move || reader.skim(messages * delivered))).collect();
        for _ in 0..messages / per_chunk {
            publisher.send(chunk.as_bytes())?;
        }
        publisher.send(frame.repeat(messages % per_chunk).as_bytes())?;
        readers.into_iter().try_for_each(joined)
    })?;
    Ok((messages * subscribers) as f64 / started.elapsed().as_secs_f64())
}

fn request(address: SocketAddr, requesters: usize, each: usize) -> Outcome<f64> {
    let mut responder = Connection::open(address)?;
    responder.send(b"SUB bench.request 1\r\n")?;
    responder.settle()?;
    let ready = Barrier::new(requesters + 1);
    thread::scope(|scope| {
        let answering = scope.spawn(move || -> Outcome<()> {
            for _ in 0..requesters * each {
                let head = responder.message(1)?;
                let reply = head.split(' ').nth(3).ok_or_else(|| format!("no reply subject in {head:?}"))?;
                responder.send(format!("PUB {reply} 1\r\ny\r\n").as_bytes())?;
            }
            Ok(())
        });
        let ready = &ready;
        let asking: Vec<_> = (0..requesters)
            .map(|number| {
                scope.spawn(move || {
                    let connection = requester(address, number);
                    // Whoever failed must not keep the others waiting.
                    ready.wait();
                    let mut connection = connection?;
                    let request = format!("PUB bench.request _INBOX.{number} 1\r\nx\r\n");
                    for _ in 0..each {
                        connection.send(request.as_bytes())?;
                        connection.message(1)?;
                    }
                    Ok(())
                })
            })
            .collect();
        ready.wait();
        let started = Instant::now();
        asking.into_iter().try_for_each(joined)?;
        let took = started.elapsed();
        joined(answering)?;
        Ok((requesters * each) as f64 / took.as_secs_f64())
    })
}

fn requester(address: SocketAddr, number: usize) -> Outcome<Connection> {
    let mut connection = Connection::open(address)?;
    connection.send(format!("SUB _INBOX.{number} 1\r\n").as_bytes())?;
    connection.settle()?;
    Ok(connection)
}

fn connect(address: SocketAddr, connections: usize) -> Outcome<f64> {
    let started = Instant::now();
    let open = (0..connections).map(|_| Connection::open(address)).collect::<Outcome<Vec<_>>>()?;
    Ok(open.len() as f64 / started.elapsed().as_secs_f64())
}

fn joined(thread: thread::ScopedJoinHandle<'_, Outcome<()>>) -> Outcome<()> {
    thread.join().map_err(|_| "a client's thread panicked")?
}
