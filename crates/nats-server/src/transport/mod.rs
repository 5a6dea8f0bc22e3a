//! How bytes get from and to a client: over TCP, encrypted, or inside WebSocket frames. To the reactor each behaves like a
//! non-blocking socket. Knows nothing of NATS.

pub(crate) mod first;
pub(crate) mod tls;
pub(crate) mod web;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

pub(crate) use tls::TlsStream;
pub(crate) use web::WebStream;

/// The bytes of one connection.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Web(Box<WebStream>),
    /// While one kind is being turned into another.
    Gone,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// Bytes; 0 is the end of the stream.
    pub(crate) count: usize,
    /// There may be more without waiting.
    pub(crate) more: bool,
}

impl Transport {
    /// The socket below, for the poll.
    pub(crate) fn socket(&mut self) -> Option<&mut TcpStream> {
        match self {
            Transport::Tcp(socket) => Some(socket),
            Transport::Tls(stream) => Some(stream.socket()),
            Transport::Web(stream) => stream.socket(),
            Transport::Gone => None,
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// "Would block" when there is nothing, and all of the socket's; "invalid data" for bytes that are not the protocol.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            Transport::Tcp(socket) => {
                // Fewer bytes than asked for: the socket is empty and the next bytes make a new event.
                let count = socket.read(buffer)?;
                Ok(Got { count, more: count == buffer.len() })
            }
            Transport::Tls(stream) => stream.receive(buffer),
            Transport::Web(stream) => stream.receive(buffer),
            Transport::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Pushes what was taken by writes and not yet given to the socket. True: nothing is left.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn drain(&mut self) -> io::Result<bool> {
        match self {
            Transport::Tcp(_) => Ok(true),
            Transport::Tls(stream) => stream.drain(),
            Transport::Web(stream) => stream.drain(),
            Transport::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Are there bytes that `drain` would push?
    pub(crate) fn is_draining(&self) -> bool {
        match self {
            Transport::Tcp(_) | Transport::Gone => false,
            Transport::Tls(stream) => stream.is_draining(),
            Transport::Web(stream) => stream.is_draining(),
        }
    }

    /// Tells the peer that nothing follows. What `drain` has not pushed is lost.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Transport::Tls(stream) => stream.say_goodbye(),
            Transport::Web(stream) => stream.say_goodbye(),
            Transport::Tcp(_) | Transport::Gone => {}
        }
        self.socket().map_or(Err(ErrorKind::NotConnected.into()), |socket| socket.shutdown(Shutdown::Write))
    }

    /// Whether it writes slices as they are; the others copy them.
    pub(crate) fn takes_slices(&self) -> bool {
        matches!(self, Transport::Tcp(_))
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
            Transport::Web(stream) => stream.write(bytes),
            Transport::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Transport::Tcp(socket) = self {
            return socket.write_vectored(slices);
        }
        // The others copy what they take, so one slice is as good as many.
        slices.iter().find(|slice| !slice.is_empty()).map_or(Ok(0), |slice| self.write(slice))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.drain()? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}
