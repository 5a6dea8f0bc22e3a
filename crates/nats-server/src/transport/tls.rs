//! TLS over a non-blocking socket.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::CertificateDer;
use rustls::{Error, InvalidMessage, ServerConfig, ServerConnection};

use super::Got;

/// An encrypted connection.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
}

impl TlsStream {
    /// The server's end on a socket whose next bytes are a TLS handshake.
    ///
    /// # Errors
    /// A configuration that the library does not take.
    pub(crate) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream, Error> {
        Ok(TlsStream { socket, session: ServerConnection::new(config)? })
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The peer's certificate, if it has shown one.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.session.peer_certificates()?.first()
    }

    /// Goes on with the handshake as far as the socket allows. True: it is done.
    ///
    /// # Errors
    /// The peer does not speak TLS, shows no or a bad certificate, or is gone.
    pub(crate) fn handshake(&mut self) -> io::Result<bool> {
        while self.session.is_handshaking() {
            if !self.drain()? {
                return Ok(false);
            }
            // The last flight may have been ours.
            if !self.session.is_handshaking() {
                break;
            }
            match self.fill() {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.drain()?;
        Ok(true)
    }

    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        let mut count = 0;
        loop {
            match self.session.reader().read(buffer.get_mut(count..).unwrap_or_default()) {
                Ok(0) => return Ok(Got { count, more: count > 0 }),
                Ok(got) => count += got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The peer went without a good-bye: an end like any other, for what was whole has been read.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Got { count, more: count > 0 });
                }
                Err(error) => return Err(error),
            }
            if count == buffer.len() {
                return Ok(Got { count, more: true });
            }
            match self.fill() {
                // The reader knows what kind of end it is.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && count > 0 => {
                    return Ok(Got { count, more: false });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes encrypted bytes from the socket; 0 at its end.
    fn fill(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.socket)?;
        if let Err(error) = self.session.process_new_packets() {
            // The alert tells the peer why; whether it arrives changes nothing. Who does not speak TLS could not read it.
            let is_foreign = matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType));
            if !(is_foreign && self.session.is_handshaking()) {
                let _ = self.session.write_tls(&mut self.socket);
            }
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(count)
    }

    pub(super) fn drain(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn say_goodbye(&mut self) {
        self.session.send_close_notify();
        // The peer learns of the end from the socket too.
        let _ = self.drain();
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer).map(|got| got.count)
    }
}

impl Write for TlsStream {
    /// Encrypts what the session has room for; it holds 64 KiB at most.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        if taken > 0 {
            self.drain()?;
            return Ok(taken);
        }
        if self.drain()? { self.session.writer().write(bytes) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.drain()? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}
