//! WebSocket frames: however they are cut, the same bytes come out, and the same end.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use crate::transport::web::{Below, Origins, WebStream};

use super::{Cuts, MAX_INPUT};

/// What a client that behaves says first.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// Longest frame that is taken.
const FRAME: usize = 300;

/// A socket whose bytes come in given pieces; between two of them there is nothing to read.
pub(crate) struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    would_block: bool,
}

impl Pieces {
    fn new<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Pieces {
        Pieces { pieces: pieces.map(<[u8]>::to_vec).collect(), would_block: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.would_block) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(piece) = self.pieces.front_mut() else { return Ok(0) };
        let count = piece.as_slice().read(buffer)?;
        piece.drain(..count);
        if piece.is_empty() {
            self.pieces.pop_front();
            self.would_block = true;
        }
        Ok(count)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that can be read, and how it ends.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, buffer: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = WebStream::new(Below::Pieces(Pieces::new(pieces)), Origins::default());
    let mut buffer = vec![0; buffer];
    let mut seen = Vec::new();
    loop {
        match stream.handshake() {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => return (seen, Some(error.kind())),
        }
    }
    stream.trust(FRAME);
    loop {
        match stream.receive(&mut buffer) {
            Ok(got) if got.count == 0 => return (seen, None),
            Ok(got) => seen.extend_from_slice(buffer.get(..got.count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return (seen, Some(error.kind())),
        }
    }
}

/// First byte: settings; second: where the stream is cut; then the frames, or the HTTP request too.
pub fn frames(data: &[u8]) {
    let [settings, cuts, stream @ ..] = data else { return };
    let stream = stream.get(..MAX_INPUT).unwrap_or(stream);
    let with_request = settings & 1 != 0;
    let first = if with_request { None } else { Some(REQUEST) };
    let whole = read(first.into_iter().chain([stream]), 64 * 1024);
    let mut cuts = Cuts::new(*cuts);
    let mut rest = stream;
    let pieces = std::iter::from_fn(|| {
        if rest.is_empty() {
            return None;
        }
        let (now, later) = rest.split_at_checked(cuts.next()).unwrap_or((rest, &[]));
        rest = later;
        Some(now)
    });
    let in_pieces = read(first.into_iter().chain(pieces), usize::from(settings >> 1) + 1);
    // A client must wait for the answer to its request; whether it did not cannot always be seen.
    if !with_request {
        assert_eq!(in_pieces, whole, "frames in pieces");
    }
    assert!(whole.0.len() <= stream.len(), "more came out than went in");
}
