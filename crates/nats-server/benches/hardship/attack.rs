//! Hostile connections of each kind, and all kinds together.

use super::Outcome;
use super::crowd::{Crowd, Member, Sent, send};
use super::probe::Probe;
use super::servers::{Process, Program};
use mio::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How an attacker behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Connects and says nothing.
    HalfOpen,
    /// A byte of its CONNECT now and then.
    SlowLoris,
    /// A line without an end; comes back when it is thrown out.
    GiantLine,
    /// Bytes without sense; comes back when it is thrown out.
    Garbage,
    /// Most of a large message, and never its end.
    HalfPayload,
    /// Subscribes to new subjects as fast as it can.
    Subscriptions,
    /// Subscribes to what the publishers publish, and never reads.
    NeverReads,
    /// Publishes large messages to those who never read, as fast as it can.
    Publishes,
    /// Asks as fast as it can, and never reads the answers.
    Pings,
}

const KINDS: [Kind; 9] = [
    Kind::HalfOpen,
    Kind::SlowLoris,
    Kind::GiantLine,
    Kind::Garbage,
    Kind::HalfPayload,
    Kind::Subscriptions,
    Kind::NeverReads,
    Kind::Publishes,
    Kind::Pings,
];

const LOG_IN: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

struct Attacker {
    kind: Kind,
    number: usize,
    round: u64,
    /// What is still to be written of the present piece.
    rest: Vec<u8>,
    greeted: bool,
}

impl Attacker {
    fn piece(&mut self) -> Vec<u8> {
        self.round += 1;
        let first = !std::mem::replace(&mut self.greeted, true);
        let after_log_in = |piece: Vec<u8>| if first { [LOG_IN, &piece].concat() } else { piece };
        match self.kind {
            Kind::HalfOpen => Vec::new(),
            Kind::SlowLoris => b"CONNECT {\"verbose\":false,"
                .iter()
                .skip((self.round as usize - 1).min(24))
                .take(1)
                .copied()
                .collect(),
            Kind::GiantLine => vec![b'S'; 16 * 1024],
            Kind::Garbage => (0..1024).map(|_| fastrand::u8(..)).collect(),
            Kind::HalfPayload if first => {
                after_log_in([b"PUB a 1000000\r\n".as_slice(), &vec![b'x'; 999_000]].concat())
            }
            Kind::HalfPayload => Vec::new(),
            Kind::Subscriptions => {
                let lines = (0..500).map(|at| {
                    let sid = self.round * 500 + at;
                    format!("SUB attack.{}.*.{sid}.> {sid}\r\n", self.number)
                });
                after_log_in(lines.collect::<String>().into_bytes())
            }
            Kind::NeverReads if first => after_log_in(b"SUB attack.flood 1\r\n".to_vec()),
            Kind::NeverReads => Vec::new(),
            Kind::Publishes => {
                let message =
                    [b"PUB attack.flood 16000\r\n".as_slice(), &vec![b'x'; 16_000], b"\r\n"].concat();
                after_log_in(message.repeat(4))
            }
            Kind::Pings => after_log_in(b"PING\r\n".repeat(2_000)),
        }
    }
}

impl Member for Attacker {
    fn write(&mut self, socket: &mut TcpStream) -> bool {
        // One piece per turn, so that one attacker does not keep the others from attacking.
        if self.rest.is_empty() {
            self.rest = self.piece();
        }
        match send(socket, &self.rest) {
            Sent::All => self.rest.clear(),
            Sent::Part(count) => drop(self.rest.drain(..count)),
            Sent::Closed => return false,
        }
        true
    }

    fn read(&mut self, _: &[u8]) {}

    fn reads(&self) -> bool {
        !matches!(self.kind, Kind::NeverReads | Kind::Pings)
    }

    fn again(&mut self) {
        self.rest.clear();
        self.greeted = false;
    }
}

/// Attacks until told to stop; how many connections the server ended.
///
/// Attackers would be on other machines: they must not take the processor from those that are measured.
fn attack(address: std::net::SocketAddr, kinds: &[Kind], count: usize, stop: &AtomicBool) -> Outcome<u64> {
    rustix::process::nice(19)?;
    let attacker = |number: usize| Attacker {
        kind: kinds[number % kinds.len()],
        number,
        round: 0,
        rest: Vec::new(),
        greeted: false,
    };
    let mut crowd = Crowd::new(address, (0..count).map(attacker).collect())?;
    while !stop.load(Ordering::Relaxed) {
        crowd.turn(Duration::from_millis(5))?;
        crowd.prompt()?;
    }
    Ok(crowd.ended)
}

pub fn run(program: &Program, attackers: usize, time: Duration, only: Option<&str>) -> Outcome<()> {
    println!(
        "  {:14}{:>10}{:>10}{:>10}{:>9}{:>9}{:>10}{:>10}{:>10}",
        "attackers", "p50 us", "p99 us", "max us", "p50 /q", "p99 /q", "peak MiB", "after MiB", "ended"
    );
    let all: Vec<(String, Vec<Kind>)> = KINDS
        .iter()
        .map(|kind| (format!("{kind:?}"), vec![*kind]))
        .chain([
            ("flood".to_owned(), vec![Kind::NeverReads, Kind::Publishes]),
            ("all kinds".to_owned(), KINDS.to_vec()),
        ])
        .filter(|(name, _)| only.is_none_or(|only| name == only))
        .collect();
    for (name, kinds) in all {
        let server = Process::start(program)?;
        let mut probe = Probe::open(server.address())?;
        let quiet = probe.measure(Duration::from_secs(2))?;
        let (stop, peak) = (AtomicBool::new(false), AtomicU64::new(0));
        let (under, ended) = std::thread::scope(|scope| -> Outcome<_> {
            let attack = scope.spawn(|| attack(server.address(), &kinds, attackers, &stop));
            let watch = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let now = server.resident_mib().unwrap_or(0.0) as u64;
                    peak.fetch_max(now, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let under = probe.measure(time);
            stop.store(true, Ordering::Relaxed);
            let ended = attack.join().map_err(|_| "the attack panicked")?;
            watch.join().map_err(|_| "the watch panicked")?;
            Ok((under?, ended?))
        })?;
        // All attackers are gone: the server needs a moment to notice.
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            probe.measure(Duration::from_millis(100))?;
        }
        println!(
            "  {name:14}{:>10.0}{:>10.0}{:>10.0}{:>9.1}{:>9.1}{:>10}{:>10.0}{:>10}",
            under.p50,
            under.p99,
            under.max,
            under.p50 / quiet.p50,
            under.p99 / quiet.p99,
            peak.load(Ordering::Relaxed),
            server.resident_mib()?,
            ended,
        );
        if under.requests < 100 {
            println!("    only {} requests were answered", under.requests);
        }
    }
    Ok(())
}
