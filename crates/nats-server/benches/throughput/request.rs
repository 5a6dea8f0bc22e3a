//! Requests and answers. All requesters are on one thread and the responder on another, so that the clients' own
//! switching between threads is not what is measured.

use super::Outcome;
use super::support::client::Connection;
use super::support::crowd::{Crowd, Member, Sent, send};
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// What is of interest.
#[derive(Clone, Copy)]
pub enum Figure {
    /// Requests that were answered.
    PerSecond,
    /// The time that 99 of 100 requests stay below, in microseconds.
    P99,
}

/// Longest wait for something to happen.
const PATIENCE: Duration = Duration::from_secs(10);

struct Requester {
    number: usize,
    /// Log-in and subscription are sent when the server has greeted.
    greeted: bool,
    logged_in: bool,
    /// Answers that are still to come.
    left: usize,
    asked: Option<Instant>,
    seen: Vec<u8>,
    took: Vec<f64>,
}

impl Requester {
    fn new(number: usize, left: usize) -> Requester {
        let (greeted, logged_in) = (false, false);
        Requester { number, greeted, logged_in, left, asked: None, seen: Vec::new(), took: Vec::new() }
    }
}

impl Member for Requester {
    fn write(&mut self, socket: &mut TcpStream) -> bool {
        let number = self.number;
        if self.greeted && !self.logged_in {
            self.logged_in = true;
            let log_in = format!("CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.{number} 1\r\n");
            return matches!(send(socket, log_in.as_bytes()), Sent::All);
        }
        if self.logged_in && self.asked.is_none() && self.left > 0 {
            self.asked = Some(Instant::now());
            let request = format!("PUB bench.request _INBOX.{number} 1\r\nx\r\n");
            return matches!(send(socket, request.as_bytes()), Sent::All);
        }
        true
    }

    fn read(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        if !self.seen.ends_with(b"\r\n") {
            return;
        }
        self.greeted = true;
        // A PING may stand before or after the answer; the run is too short for the server to mind the missing PONG.
        let answered = self.seen.windows(5).any(|end| end == b"\r\ny\r\n");
        if answered && let Some(asked) = self.asked.take() {
            self.took.push(asked.elapsed().as_secs_f64() * 1e6);
            self.left -= 1;
        }
        if answered || self.asked.is_none() {
            self.seen.clear();
        }
    }

    fn again(&mut self) {
        *self = Requester::new(self.number, self.left);
    }
}

pub fn run(address: SocketAddr, requesters: usize, each: usize, figure: Figure) -> Outcome<f64> {
    let mut responder = Connection::open(address)?;
    responder.send(b"SUB bench.request 1\r\n")?;
    responder.settle()?;
    let answering = thread::spawn(move || -> Outcome<()> {
        let mut left = requesters * each;
        while left > 0 {
            let replies = responder.replies()?;
            let answers: String = replies.iter().map(|reply| format!("PUB {reply} 1\r\ny\r\n")).collect();
            responder.send(answers.as_bytes())?;
            left = left.saturating_sub(replies.len());
        }
        Ok(())
    });
    let members = (0..requesters).map(|number| Requester::new(number, each)).collect();
    let mut crowd = Crowd::new(address, members)?;
    while crowd.members().any(|member| !member.logged_in) {
        crowd.turn(PATIENCE)?;
    }
    let started = Instant::now();
    crowd.prompt()?;
    while crowd.members().any(|member| member.left > 0) {
        crowd.turn(PATIENCE)?;
        if started.elapsed() > 6 * PATIENCE {
            let left: usize = crowd.members().map(|member| member.left).sum();
            return Err(format!("{left} requests are not answered after {:?}", 6 * PATIENCE).into());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    answering.join().map_err(|_| "the responder panicked")??;
    let mut took: Vec<f64> = crowd.members().flat_map(|member| member.took.iter().copied()).collect();
    took.sort_by(f64::total_cmp);
    Ok(match figure {
        Figure::PerSecond => took.len() as f64 / seconds,
        Figure::P99 => took[took.len() * 99 / 100],
    })
}
