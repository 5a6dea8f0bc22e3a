//! A client that comes back whenever its connection ends.

use super::crowd::{Member, Sent, send};
use mio::net::TcpStream;

/// It subscribes, and is served when its own message comes back.
pub struct Returning {
    number: usize,
    sent: bool,
    seen: Vec<u8>,
    pub served: bool,
}

impl Returning {
    pub fn new(number: usize) -> Returning {
        Returning { number, sent: false, seen: Vec::new(), served: false }
    }
}

impl Member for Returning {
    fn write(&mut self, socket: &mut TcpStream) -> bool {
        // A client talks when it has been greeted.
        if self.sent || self.seen.is_empty() {
            return true;
        }
        self.sent = true;
        let number = self.number;
        let talk = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB storm.{number} 1\r\nPUB storm.{number} 4\r\nback\r\n"
        );
        matches!(send(socket, talk.as_bytes()), Sent::All)
    }

    fn read(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        // The server's first PING may be behind it.
        self.served |= self.seen.windows(6).any(|bytes| bytes == b"back\r\n");
    }

    fn again(&mut self) {
        *self = Returning::new(self.number);
    }
}
