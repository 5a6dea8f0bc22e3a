//! Hostile clients.

use super::crowd::{Member, Sent, send};
use mio::net::TcpStream;

/// How an attacker behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
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

pub const KINDS: [Kind; 9] = [
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

pub struct Attacker {
    kind: Kind,
    number: usize,
    round: u64,
    /// What is still to be written of the present piece.
    rest: Vec<u8>,
    greeted: bool,
    /// Bytes of its unfinished message.
    large: usize,
}

impl Attacker {
    pub fn new(kind: Kind, number: usize) -> Attacker {
        Attacker { kind, number, round: 0, rest: Vec::new(), greeted: false, large: 1_000_000 }
    }

    /// With unfinished messages of so many bytes; a server that allows less would refuse them at once.
    pub fn with_payload(self, large: usize) -> Attacker {
        Attacker { large, ..self }
    }

    fn piece(&mut self) -> Vec<u8> {
        self.round += 1;
        let first = !std::mem::replace(&mut self.greeted, true);
        let after_log_in = |piece: Vec<u8>| if first { [LOG_IN, &piece].concat() } else { piece };
        match self.kind {
            Kind::HalfOpen => Vec::new(),
            Kind::SlowLoris => {
                let line = b"CONNECT {\"verbose\":false,";
                vec![line[(self.round as usize - 1).min(line.len() - 1)]]
            }
            Kind::GiantLine => vec![b'S'; 16 * 1024],
            Kind::Garbage => {
                let mut bytes = vec![0; 1024];
                fastrand::fill(&mut bytes);
                bytes
            }
            Kind::HalfPayload if first => {
                let head = format!("PUB a {}\r\n", self.large);
                after_log_in([head.as_bytes(), &vec![b'x'; self.large - 1]].concat())
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
