//! WebSocket frames over a non-blocking socket, encrypted or not. The stream of NATS bytes is cut into binary messages
//! wherever it suits the sender: message borders mean nothing.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::{StatusCode, header};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::{Got, TlsStream};
use crate::options::WebSocketOptions;

/// Bytes of one frame that the server makes at most, and of one that it takes from a client that has not logged in.
const FRAME: usize = 64 * 1024;
/// Buffer of the library for each connection.
const READ_BUFFER: usize = 4 * 1024;

/// What is below the frames.
pub(crate) enum Below {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    /// Bytes that come in given pieces.
    #[cfg(any(test, feature = "fuzzing"))]
    Pieces(crate::fuzzing::Pieces),
}

impl Below {
    fn socket(&mut self) -> Option<&mut TcpStream> {
        match self {
            Below::Tcp(socket) => Some(socket),
            Below::Tls(stream) => Some(stream.socket()),
            #[cfg(any(test, feature = "fuzzing"))]
            Below::Pieces(_) => None,
        }
    }
}

impl Read for Below {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Below::Tcp(socket) => socket.read(buffer),
            Below::Tls(stream) => stream.read(buffer),
            #[cfg(any(test, feature = "fuzzing"))]
            Below::Pieces(pieces) => pieces.read(buffer),
        }
    }
}

impl Write for Below {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Below::Tcp(socket) => socket.write(bytes),
            Below::Tls(stream) => stream.write(bytes),
            #[cfg(any(test, feature = "fuzzing"))]
            Below::Pieces(pieces) => pieces.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Below::Tcp(_) => Ok(()),
            Below::Tls(stream) => stream.flush(),
            #[cfg(any(test, feature = "fuzzing"))]
            Below::Pieces(pieces) => pieces.flush(),
        }
    }
}

/// Which pages may connect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<String>,
    same: bool,
}

impl Origins {
    pub(crate) fn new(options: &WebSocketOptions) -> Origins {
        Origins {
            allowed: options.allowed_origins.iter().map(|origin| plain_origin(origin)).collect(),
            same: options.same_origin,
        }
    }

    /// Whether a request with this `Origin` and `Host` may go on. Only browsers send an origin.
    fn permit(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let plain = plain_origin(origin);
        let listed = self.allowed.is_empty() || self.allowed.contains(&plain);
        let of_host = |scheme: &str| host.map(|host| plain_origin(&format!("{scheme}://{host}")));
        let same = !self.same
            || plain.split_once("://").is_some_and(|(scheme, _)| of_host(scheme) == Some(plain.clone()));
        listed && same
    }
}

/// An origin in one form: lower case, and without the port that its scheme has anyway.
fn plain_origin(origin: &str) -> String {
    let origin = origin.trim_end_matches('/').to_ascii_lowercase();
    let usual = if origin.starts_with("https://") { ":443" } else { ":80" };
    match origin.strip_suffix(usual) {
        Some(plain) if origin.contains("://") => plain.to_owned(),
        _ => origin,
    }
}

impl Callback for Origins {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        if self.permit(header(header::ORIGIN), header(header::HOST)) {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some("origin not allowed".to_owned()));
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        Err(refusal)
    }
}

enum Stage {
    Request(MidHandshake<ServerHandshake<Below, Origins>>),
    Open(WebSocket<Below>),
    /// The request was no good, and the socket is closed.
    Failed,
}

/// A WebSocket connection.
pub(crate) struct WebStream {
    stage: Stage,
    /// What is left of the message that was read last.
    rest: Bytes,
    /// What ends the stream after the bytes that came before it.
    failed: Option<io::Error>,
    draining: bool,
}

impl WebStream {
    /// The server's end on a stream whose next bytes are an HTTP request.
    pub(crate) fn new(below: Below, origins: Origins) -> WebStream {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME))
            .max_frame_size(Some(FRAME));
        let stage = Stage::Request(ServerHandshake::start(below, origins, Some(config)));
        WebStream { stage, rest: Bytes::new(), failed: None, draining: false }
    }

    /// `None` once the connection has failed.
    fn below(&mut self) -> Option<&mut Below> {
        match &mut self.stage {
            Stage::Request(request) => Some(request.get_mut().get_mut()),
            Stage::Open(web) => Some(web.get_mut()),
            Stage::Failed => None,
        }
    }

    pub(super) fn socket(&mut self) -> Option<&mut TcpStream> {
        self.below().and_then(Below::socket)
    }

    /// Goes on with the HTTP request as far as the socket allows. True: frames follow.
    ///
    /// # Errors
    /// It is no request for a WebSocket, comes from a page that may not, or the peer is gone. The peer has been told.
    pub(crate) fn handshake(&mut self) -> io::Result<bool> {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Request(request) => match request.handshake() {
                Ok(web) => self.stage = Stage::Open(web),
                Err(HandshakeError::Interrupted(request)) => self.stage = Stage::Request(request),
                Err(HandshakeError::Failure(error)) => return Err(io_error(error)),
            },
            other => self.stage = other,
        }
        Ok(matches!(self.stage, Stage::Open(_)))
    }

    /// The client has logged in: it may send frames of this many bytes.
    pub(crate) fn trust(&mut self, frame: usize) {
        if let Stage::Open(web) = &mut self.stage {
            web.set_config(|config| {
                config.max_message_size = Some(frame);
                config.max_frame_size = Some(frame);
            });
        }
    }

    fn web(&mut self) -> io::Result<&mut WebSocket<Below>> {
        match &mut self.stage {
            Stage::Open(web) => Ok(web),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut count = 0;
        while let Some(room) = buffer.get_mut(count..).filter(|room| !room.is_empty()) {
            if self.rest.has_remaining() {
                let now = room.len().min(self.rest.len());
                self.rest.split_to(now).copy_to_slice(room.get_mut(..now).unwrap_or_default());
                count += now;
                continue;
            }
            match self.web()?.read() {
                Ok(Message::Binary(bytes)) => self.rest = bytes,
                Ok(Message::Text(text)) => self.rest = text.into(),
                // Answers to these are the library's; they leave with the next write or drain.
                Ok(_) => self.draining = true,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Ok(Got { count, more: count > 0 });
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock && count > 0 => {
                    return Ok(Got { count, more: false });
                }
                // Whoever sent good frames before a bad one is served as far as that, however they arrived.
                Err(error) if count > 0 => {
                    self.failed = Some(io_error(error));
                    return Ok(Got { count, more: true });
                }
                Err(error) => return Err(io_error(error)),
            }
        }
        Ok(Got { count, more: true })
    }

    pub(super) fn drain(&mut self) -> io::Result<bool> {
        match self.web()?.flush() {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => self.draining = false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.draining = true,
            Err(error) => return Err(io_error(error)),
        }
        Ok(!self.draining)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn say_goodbye(&mut self) {
        if let Stage::Open(web) = &mut self.stage {
            // The peer learns of the end from the socket too.
            let _ = web.close(None).and_then(|()| web.flush());
        }
    }

    /// Takes at most one frame's worth, and nothing while an earlier frame is not out.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.draining && !self.drain()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let now = bytes.get(..bytes.len().min(FRAME)).unwrap_or_default();
        match self.web()?.write(Message::Binary(Bytes::copy_from_slice(now))) {
            Ok(()) => {}
            // It is in the library's buffer all the same.
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(io_error(error)),
        }
        self.drain()?;
        Ok(now.len())
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => ErrorKind::BrokenPipe.into(),
        error => io::Error::new(ErrorKind::InvalidData, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let options = |allowed: &[&str], same_origin| WebSocketOptions {
            allowed_origins: allowed.iter().map(|o| (*o).to_owned()).collect(),
            same_origin,
            ..WebSocketOptions::default()
        };
        let permit =
            |options: &WebSocketOptions, origin| Origins::new(options).permit(origin, Some("host:80"));
        assert!(permit(&options(&[], false), None) && permit(&options(&[], false), Some("https://any")));
        let listed = options(&["https://good:443/"], false);
        assert!(permit(&listed, None), "not a browser");
        assert!(permit(&listed, Some("https://good:443")) && !permit(&listed, Some("https://bad")));
        let same = options(&[], true);
        assert!(permit(&same, Some("http://host:80")) && !permit(&same, Some("http://other:80")));
        assert!(!permit(&same, Some("null")));
        // Browsers leave out the port that the scheme has anyway.
        assert!(permit(&same, Some("http://HOST")) && !permit(&same, Some("https://host")));
        assert!(permit(&listed, Some("https://good")) && !permit(&listed, Some("http://good")));
    }
}
