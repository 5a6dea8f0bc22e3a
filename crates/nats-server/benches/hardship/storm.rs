//! Many clients lose their connections at once and come back.

use super::Outcome;
use super::support::client::Connection;
use super::support::crowd::{Crowd, Member, Sent, send};
use super::support::servers::{Process, Program};
use mio::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest that all of them may take.
const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5;

/// A client that subscribes and is served when its own message comes back.
struct Client {
    number: usize,
    sent: bool,
    seen: Vec<u8>,
    served: bool,
}

impl Member for Client {
    fn write(&mut self, socket: &mut TcpStream) -> bool {
        // A client talks when it has been greeted.
        if self.sent || self.seen.is_empty() {
            return true;
        }
        let number = self.number;
        let talk = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB storm.{number} 1\r\nPUB storm.{number} 4\r\nback\r\n"
        );
        self.sent = true;
        matches!(send(socket, talk.as_bytes()), Sent::All)
    }

    fn read(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        self.served |= self.seen.ends_with(b"back\r\n");
    }

    fn again(&mut self) {
        (self.sent, self.served) = (false, false);
        self.seen.clear();
    }
}

pub fn run(program: &Program, clients: usize) -> Outcome<()> {
    let server = Process::start(program)?;
    let idle = server.resident_mib()?;
    let client = |number| Client { number, sent: false, seen: Vec::new(), served: false };
    let mut crowd = Crowd::new(server.address(), (0..clients).map(client).collect())?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        if round > 0 {
            crowd.drop_all()?;
        }
        while !crowd.members().all(|client| client.served) {
            crowd.turn(Duration::from_millis(100))?;
            if start.elapsed() > PATIENCE {
                let served = crowd.members().filter(|client| client.served).count();
                return Err(
                    format!("only {served} of {clients} clients are served after {PATIENCE:?}").into()
                );
            }
        }
        took.push(start.elapsed().as_secs_f64());
        println!(
            "  storm {round}: {clients} clients served after {:.2} s, {:.1} MiB, {:.1} KiB per connection",
            took[round],
            server.resident_mib()?,
            (server.resident_mib()? - idle) * 1024.0 / clients as f64,
        );
    }
    drop(crowd);
    // Served again after the server has noticed that all are gone.
    Connection::open(server.address())?;
    std::thread::sleep(Duration::from_secs(1));
    println!("  all gone: {:.1} MiB (idle before: {idle:.1})\n", server.resident_mib()?);
    Ok(())
}
