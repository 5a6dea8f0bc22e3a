//! The first byte of a connection tells whether the client begins with a TLS handshake.

use std::io;

use mio::net::TcpStream;

/// First byte of a TLS record that carries a handshake message (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Does the peer begin with TLS? The byte stays where it is.
///
/// # Errors
/// "Would block" when there is nothing yet, "unexpected end" when nothing will come, and all of the socket's.
pub(crate) fn is_tls(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match socket.peek(&mut first)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [TLS_HANDSHAKE]),
    }
}
