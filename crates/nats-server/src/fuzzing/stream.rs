//! The protocol as a stream: however it is cut, the same operations come out, and little is kept.

use crate::proto::inbound::{Flow, Inbound, Sink};
use crate::proto::parser::{Limits, Op};

use super::{Cuts, MAX_INPUT};

const PAYLOAD: usize = 300;

/// Writes operations down. It stops now and then, as a session that has done enough for one turn.
struct Recorder {
    limits: Limits,
    seen: Vec<String>,
    stop_every: usize,
}

impl Sink for Recorder {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn op(&mut self, op: Op<'_>) -> Flow {
        // As a session does: these are known only after CONNECT.
        if let Op::Connect(json) = op {
            self.limits.connect_only = false;
            self.limits.headers = !json.is_empty();
        }
        self.seen.push(format!("{op:?}"));
        if self.seen.len().is_multiple_of(self.stop_every) { Flow::Stop } else { Flow::Continue }
    }
}

/// What the stream means when it arrives in pieces; a fault is the last entry.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: Limits, stop_every: usize) -> Vec<String> {
    let mut recorder = Recorder { limits, seen: Vec::new(), stop_every };
    let mut inbound = Inbound::default();
    let most = limits.control_line.max(PAYLOAD + 64 + limits.control_line) + 16;
    for piece in pieces {
        let mut result = inbound.feed(piece, &mut recorder);
        while result == Ok(Flow::Stop) {
            assert!(inbound.kept() <= most + piece.len(), "kept at a stop: {}", inbound.kept());
            result = inbound.feed(&[], &mut recorder);
        }
        if let Err(fault) = result {
            recorder.seen.push(format!("{fault:?}"));
            break;
        }
        assert!(inbound.kept() <= most, "kept: {}", inbound.kept());
    }
    recorder.seen
}

/// First byte: settings; second: where the stream is cut; then the stream.
pub fn stream(data: &[u8]) {
    let [settings, cuts, stream @ ..] = data else { return };
    let mut stream = stream.get(..MAX_INPUT).unwrap_or(stream);
    let limits = Limits {
        control_line: if settings & 4 == 0 { 40 } else { 400 },
        payload: PAYLOAD,
        connect_only: settings & 1 != 0,
        headers: settings & 2 != 0,
    };
    let stop_every = if settings & 8 == 0 { usize::MAX } else { usize::from(settings >> 4) + 1 };
    let whole = read(std::iter::once(stream), limits, usize::MAX);
    assert_eq!(read(stream.chunks(1), limits, usize::MAX), whole, "byte by byte");
    let mut cuts = Cuts::new(*cuts);
    let pieces = std::iter::from_fn(|| {
        if stream.is_empty() {
            return None;
        }
        let (now, later) = stream.split_at_checked(cuts.next()).unwrap_or((stream, &[]));
        stream = later;
        Some(now)
    });
    assert_eq!(read(pieces, limits, stop_every), whole, "in pieces");
}
