//! Starting servers and talking to them in raw bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bacalhau_nats_server::{LocalSubscription, Message, Options, Server};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Options for tests: loopback, any port.
pub(crate) fn options() -> Options {
    Options {
        host: "127.0.0.1".into(),
        port: 0,
        // Machines that run tests do other things too: what comes by the clock is for those tests that look at it.
        first_ping: Duration::from_secs(120),
        write_deadline: 6 * PATIENCE,
        ..Options::default()
    }
}

/// A server with those.
pub(crate) fn server() -> Server {
    Server::start(options()).unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// The same for what is much work on a busy machine.
pub(crate) fn eventually_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "still not: {what}");
        std::thread::yield_now();
    }
}

/// The next message, which must come.
pub(crate) async fn next(sub: &mut LocalSubscription) -> Message {
    tokio::time::timeout(PATIENCE, sub.next()).await.expect("a message in time").expect("a message")
}

/// A client that sends and sees bytes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, seen: Vec::new() }
    }

    /// Connected with the given CONNECT document, past the first PING.
    pub(crate) fn connected(addr: SocketAddr, connect: &str) -> Self {
        let mut raw = Self::open(addr);
        raw.send(format!("CONNECT {connect}\r\nPING\r\n"));
        raw.until("PONG\r\n");
        raw
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed already; what it said before is what the test looks at.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Everything up to and with `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.seen, end.as_bytes()) {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.seen, rest)).into_owned();
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => {
                    panic!("{other:?} instead of {end:?} after {:?}", String::from_utf8_lossy(&self.seen))
                }
            }
        }
    }

    /// Everything up to and with `end`, or to the end of the stream, and whether it was that.
    pub(crate) fn until_or_end(&mut self, end: &str) -> (String, bool) {
        loop {
            if find(&self.seen, end.as_bytes()).is_some() {
                return (self.until(end), false);
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => return (self.rest(), true),
            }
        }
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.seen);
        // A reset after the end of the conversation is an end too.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
