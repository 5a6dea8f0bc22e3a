//! What is measured: messages or requests per second.

use super::Outcome;
use super::encrypted::{self, Encrypted};
use super::neighbours;
use super::request::{self, Figure};
use super::support::client::Connection;
use super::support::servers::Process;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

/// The servers of one program.
pub struct Servers {
    pub plain: Process,
    pub encrypted: Encrypted,
}

/// One line of the table.
pub struct Workload {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// One publisher at full speed, on so many subjects in turn; counts messages received by all subscribers together.
    Publish { subscribers: usize, messages: usize, size: usize, subjects: usize },
    /// As many requests as there are, each requester one at a time; one responder for all.
    Request { requesters: usize, each: usize, figure: Figure },
    /// Like `Publish` to one subscriber, both over TLS.
    Encrypted { messages: usize, size: usize },
    /// So many publishers at full speed and one requester, beside other programs that use the processors.
    Neighbours { publishers: usize, each: usize, size: usize },
    /// Connections opened one after the other until they are welcome.
    Connect { connections: usize },
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "1 to 1, 16 B, messages/s",
        kind: Kind::Publish { subscribers: 1, messages: 2_000_000, size: 16, subjects: 1 },
    },
    Workload {
        name: "1 to 1, 1 KiB, messages/s",
        kind: Kind::Publish { subscribers: 1, messages: 500_000, size: 1024, subjects: 1 },
    },
    Workload {
        name: "1 to 10, 16 B, messages/s",
        kind: Kind::Publish { subscribers: 10, messages: 300_000, size: 16, subjects: 1 },
    },
    Workload {
        name: "10,000 subjects, 16 B, messages/s",
        kind: Kind::Publish { subscribers: 1, messages: 1_000_000, size: 16, subjects: 10_000 },
    },
    Workload {
        name: "1 requester, requests/s",
        kind: Kind::Request { requesters: 1, each: 20_000, figure: Figure::PerSecond },
    },
    Workload {
        name: "50 requesters, requests/s",
        kind: Kind::Request { requesters: 50, each: 2_000, figure: Figure::PerSecond },
    },
    Workload {
        name: "50 requesters, p99, us",
        kind: Kind::Request { requesters: 50, each: 2_000, figure: Figure::P99 },
    },
    Workload {
        name: "20 to 1, busy machine, messages/s",
        kind: Kind::Neighbours { publishers: 20, each: 50_000, size: 16 },
    },
    Workload { name: "connections/s", kind: Kind::Connect { connections: 1_000 } },
    Workload {
        name: "1 to 1, 1 KiB, TLS, messages/s",
        kind: Kind::Encrypted { messages: 200_000, size: 1024 },
    },
];

impl Workload {
    /// The figure that its name promises.
    pub fn run(&self, servers: &Servers) -> Outcome<f64> {
        let address = servers.plain.address();
        let result = match self.kind {
            Kind::Publish { subscribers, messages, size, subjects } => {
                publish(address, subscribers, messages, size, subjects)
            }
            Kind::Request { requesters, each, figure } => request::run(address, requesters, each, figure),
            Kind::Neighbours { publishers, each, size } => neighbours::run(address, publishers, each, size),
            Kind::Connect { connections } => connect(address, connections),
            Kind::Encrypted { messages, size } => encrypted::run(&servers.encrypted, messages, size),
        };
        result.map_err(|error| format!("{}: {error}", self.name).into())
    }
}

/// Frames that the publisher repeats, bytes.
const CHUNK: usize = 64 * 1024;

fn publish(
    address: SocketAddr,
    subscribers: usize,
    messages: usize,
    size: usize,
    subjects: usize,
) -> Outcome<f64> {
    // All subjects are of one length, so that it is known how many bytes are delivered.
    let frame = |number: usize| format!("PUB bench.{number:05} {size}\r\n{}\r\n", "x".repeat(size));
    let delivered = format!("MSG bench.00000 1 {size}\r\n").len() + size + 2;
    let per_chunk = (CHUNK / frame(0).len()).clamp(1, messages);
    let chunks: Vec<String> = (0..subjects.div_ceil(per_chunk))
        .map(|chunk| (0..per_chunk).map(|at| frame((chunk * per_chunk + at) % subjects)).collect())
        .collect();
    let mut publisher = Connection::open(address)?;
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let mut reader = Connection::open(address)?;
        reader.send(b"SUB bench.* 1\r\n")?;
        reader.settle()?;
        readers.push(reader);
    }
    let started = Instant::now();
    thread::scope(|scope| {
        let readers: Vec<_> =
            readers.iter_mut().map(|reader| scope.spawn(move || reader.skim(messages * delivered))).collect();
        for chunk in chunks.iter().cycle().take(messages / per_chunk) {
            publisher.send(chunk.as_bytes())?;
        }
        publisher.send(frame(0).repeat(messages % per_chunk).as_bytes())?;
        readers.into_iter().try_for_each(joined)
    })?;
    Ok((messages * subscribers) as f64 / started.elapsed().as_secs_f64())
}

fn connect(address: SocketAddr, connections: usize) -> Outcome<f64> {
    let started = Instant::now();
    let open = (0..connections).map(|_| Connection::open(address)).collect::<Outcome<Vec<_>>>()?;
    Ok(open.len() as f64 / started.elapsed().as_secs_f64())
}

pub fn joined(thread: thread::ScopedJoinHandle<'_, Outcome<()>>) -> Outcome<()> {
    thread.join().map_err(|_| "a client's thread panicked")?
}
