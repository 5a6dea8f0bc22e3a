//! A well-behaved requester and a responder: how long a request takes, from the first byte out to the last byte in.

use super::Outcome;
use super::support::client::Connection;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub struct Probe {
    requester: Connection,
    responder: Connection,
}

/// Latencies in microseconds.
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub requests: usize,
}

impl Probe {
    pub fn open(address: SocketAddr) -> Outcome<Probe> {
        let (mut requester, mut responder) = (Connection::open(address)?, Connection::open(address)?);
        requester.send(b"SUB _INBOX.probe 1\r\n")?;
        requester.settle()?;
        responder.send(b"SUB probe.request 1\r\n")?;
        responder.settle()?;
        Ok(Probe { requester, responder })
    }

    /// Requests one after the other for some time, with a little rest in between as a real client has.
    pub fn measure(&mut self, time: Duration) -> Outcome<Latency> {
        let until = Instant::now() + time;
        let mut took = Vec::new();
        while Instant::now() < until {
            let start = Instant::now();
            self.requester.send(b"PUB probe.request _INBOX.probe 16\r\n0123456789abcdef\r\n")?;
            self.responder.message(16)?;
            self.responder.send(b"PUB _INBOX.probe 16\r\n0123456789abcdef\r\n")?;
            self.requester.message(16)?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
            std::thread::sleep(Duration::from_micros(500));
        }
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        Ok(Latency { p50: at(0.5), p99: at(0.99), max: at(1.0), requests: took.len() })
    }
}
