//! A raw connection: the client must cost as little as possible, for it shares the processors with the server.

use super::Outcome;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Silence after which a run counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
const READ_BUFFER: usize = 256 * 1024;
const PING: &[u8] = b"PING\r\n";

pub struct Connection {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Outcome<Connection> {
        let to = TcpStream::connect(address)?;
        to.set_nodelay(true)?;
        to.set_read_timeout(Some(PATIENCE))?;
        to.set_write_timeout(Some(PATIENCE))?;
        let from = BufReader::with_capacity(READ_BUFFER, to.try_clone()?);
        let mut connection = Connection { to, from };
        let info = connection.line()?;
        if !info.starts_with("INFO ") {
            return Err(format!("no INFO but {info:?}").into());
        }
        connection.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"bench\",\"version\":\"1\"}\r\n")?;
        connection.settle()?;
        Ok(connection)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.to.write_all(bytes)?)
    }

    /// Waits until the server has dealt with everything that was sent. For use before messages can arrive.
    pub fn settle(&mut self) -> Outcome<()> {
        self.send(b"PING\r\n")?;
        loop {
            match self.line()?.as_str() {
                "PONG" => return Ok(()),
                "PING" => self.send(b"PONG\r\n")?,
                other => return Err(format!("expected PONG, got {other:?}").into()),
            }
        }
    }

    /// Reads so many bytes and forgets them. A server's PING in between is counted too: six bytes too early is nothing.
    pub fn skim(&mut self, mut bytes: usize) -> Outcome<()> {
        while bytes > 0 {
            let read = self.from.fill_buf()?.len();
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            let taken = read.min(bytes);
            self.from.consume(taken);
            bytes -= taken;
        }
        Ok(())
    }

    /// The head of the next message, without its line end; its payload of `size` bytes is dropped.
    pub fn message(&mut self, size: usize) -> Outcome<String> {
        loop {
            let line = self.line()?;
            if line == "PING" {
                self.send(b"PONG\r\n")?;
            } else if line.starts_with("MSG ") {
                let mut payload = vec![0; size + 2];
                self.from.read_exact(&mut payload)?;
                return Ok(line);
            } else {
                return Err(format!("expected a message, got {line:?}").into());
            }
        }
    }

    /// The reply subjects of all messages that are there, at least one, of one-byte payloads.
    pub fn replies(&mut self) -> Outcome<Vec<String>> {
        let mut replies = Vec::new();
        loop {
            // Behind the last message: to wait for another one would keep back the answers to those that came.
            while self.from.buffer().starts_with(PING) {
                self.from.consume(PING.len());
                self.send(b"PONG\r\n")?;
            }
            if !replies.is_empty() && !self.from.buffer().ends_with(b"\r\n") {
                return Ok(replies);
            }
            let head = self.message(1)?;
            let reply = head.split(' ').nth(3).ok_or_else(|| format!("no reply subject in {head:?}"))?;
            replies.push(reply.to_owned());
        }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("the server closed the connection".into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
