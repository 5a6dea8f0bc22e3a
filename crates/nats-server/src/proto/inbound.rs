//! Turns a stream of reads into operations. Reads land in a buffer that all connections of a thread share; what is
//! kept per connection is only the incomplete end of the last read, so an idle connection holds no buffer.
//!
//! What is kept is bounded: by the control line limit while a line is incomplete (blanks and other bytes without meaning,
//! which no limit forbids, are not kept), by the size the line declared (which the parser has checked) while a payload is,
//! and by one read when the consumer asked to stop.

use memchr::memchr;

use super::parser::{Fault, Limits, Op, Step, idle_part, parse};

/// What the consumer of operations wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// More, as long as there is.
    Continue,
    /// No more for now; the rest is kept.
    Stop,
}

/// The unread end of a connection's stream.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    tail: Vec<u8>,
    /// Length of the operation at the start of `tail`, if known, else 0.
    need: usize,
}

/// A tail above this gives its memory back when it is used up.
const KEEP_CAPACITY: usize = 512;

impl Inbound {
    /// Is something kept that may hold a complete operation?
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty()
    }

    /// Bytes of memory that are kept.
    pub(crate) fn held(&self) -> usize {
        self.tail.capacity()
    }

    /// Bytes that are kept.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn kept(&self) -> usize {
        self.tail.len()
    }

    /// Takes the next bytes of the stream and hands every complete operation to `sink`. The limits are asked for
    /// again before each operation, since one may change them.
    ///
    /// # Errors
    /// The fault that must close the connection. Operations before it have been handed over.
    pub(crate) fn feed(&mut self, mut input: &[u8], sink: &mut impl Sink) -> Result<Flow, Fault> {
        while !self.tail.is_empty() {
            // Complete the first operation with no more bytes than it needs, then carry on without copying.
            let add = if self.need > self.tail.len() {
                self.need - self.tail.len()
            } else {
                memchr(b'\n', input).map_or(input.len(), |at| at + 1)
            };
            let (now, later) = input.split_at_checked(add).unwrap_or((input, &[]));
            self.tail.extend_from_slice(now);
            input = later;
            let tail = std::mem::take(&mut self.tail);
            let (used, need, flow) = consume(&tail, sink)?;
            self.need = need;
            self.keep(tail, used);
            self.forget_idle_part(flow);
            if flow == Flow::Stop {
                self.tail.extend_from_slice(input);
                return Ok(Flow::Stop);
            }
            if input.is_empty() {
                return Ok(Flow::Continue);
            }
        }
        let (used, need, flow) = consume(input, sink)?;
        self.need = need;
        let rest = input.get(used..).unwrap_or_default();
        let idle = if self.is_incomplete_line(flow) { idle_part(rest) } else { 0..0 };
        self.tail.extend_from_slice(rest.get(..idle.start).unwrap_or_default());
        self.tail.extend_from_slice(rest.get(idle.end..).unwrap_or_default());
        Ok(flow)
    }

    /// Is what is left over the start of a line, and not of a payload or of more operations?
    fn is_incomplete_line(&self, flow: Flow) -> bool {
        flow == Flow::Continue && self.need == 0
    }

    fn forget_idle_part(&mut self, flow: Flow) {
        if !self.is_incomplete_line(flow) {
            return;
        }
        let idle = idle_part(&self.tail);
        if !idle.is_empty() {
            self.tail.drain(idle);
            self.tail.shrink_to(KEEP_CAPACITY);
        }
    }

    fn keep(&mut self, mut tail: Vec<u8>, used: usize) {
        if used < tail.len() {
            tail.drain(..used);
            self.tail = tail;
        } else if tail.capacity() <= KEEP_CAPACITY {
            tail.clear();
            self.tail = tail;
        }
    }
}

/// Consumer of operations.
pub(crate) trait Sink {
    /// The limits for the next operation.
    fn limits(&self) -> Limits;
    /// One operation.
    fn op(&mut self, op: Op<'_>) -> Flow;
}

/// Hands over what is complete: bytes used, bytes the next operation needs, and whether to go on.
#[inline]
fn consume(input: &[u8], sink: &mut impl Sink) -> Result<(usize, usize, Flow), Fault> {
    let mut used = 0;
    loop {
        let rest = input.get(used..).unwrap_or_default();
        if rest.is_empty() {
            return Ok((used, 0, Flow::Continue));
        }
        match parse(rest, &sink.limits()) {
            Step::Op(op, len) => {
                used += len;
                if sink.op(op) == Flow::Stop {
                    return Ok((used, 0, Flow::Stop));
                }
            }
            Step::Need(need) => return Ok((used, need, Flow::Continue)),
            Step::Fail(fault) => return Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes operations down; stops after every `stop_every`-th.
    struct Recorder {
        seen: Vec<String>,
        stop_every: usize,
    }

    impl Sink for Recorder {
        fn limits(&self) -> Limits {
            Limits { control_line: 64, payload: 300, connect_only: false, headers: true }
        }

        fn op(&mut self, op: Op<'_>) -> Flow {
            // What may be passed on depends only on the operation, so it is part of the comparison.
            self.seen.push(format!("{op:?}"));
            if self.seen.len().is_multiple_of(self.stop_every) { Flow::Stop } else { Flow::Continue }
        }
    }

    /// Feeds pieces; after a stop the rest is asked for with empty reads. The fault, if any, is the last entry.
    fn run(pieces: &[&[u8]], stop_every: usize) -> Vec<String> {
        let mut inbound = Inbound::default();
        let mut recorder = Recorder { seen: Vec::new(), stop_every };
        for piece in pieces {
            let mut result = inbound.feed(piece, &mut recorder);
            while result == Ok(Flow::Stop) {
                result = inbound.feed(&[], &mut recorder);
            }
            if let Err(fault) = result {
                recorder.seen.push(format!("{fault:?}"));
                return recorder.seen;
            }
            assert!(inbound.tail.len() <= 64 + 300 + 16, "what is kept is bounded");
        }
        recorder.seen
    }

    fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut points: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        points.extend([0, stream.len()]);
        points.sort_unstable();
        points.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
    }

    fn operation() -> impl Strategy<Value = Vec<u8>> {
        let body = proptest::collection::vec(any::<u8>(), 0..290);
        prop_oneof![
            Just(b"PING\r\n".to_vec()),
            Just(b"pong\n".to_vec()),
            Just(b"+OK\r\n".to_vec()),
            "SUB [a-z.*>]{1,20} [0-9]{1,3}\r\n".prop_map(String::into_bytes),
            "unsub [0-9]{1,3}( [0-9]{1,3})?\r\n".prop_map(String::into_bytes),
            "CONNECT \\{\"name\": \"[a-z ]{0,20}\"\\}\r\n".prop_map(String::into_bytes),
            ("[a-z.]{1,9}", any::<bool>(), body.clone()).prop_map(|(subject, reply, body)| {
                let reply = if reply { " re.ply" } else { "" };
                let mut op = format!("PUB {subject}{reply} {}\r\n", body.len()).into_bytes();
                op.extend_from_slice(&body);
                op.extend_from_slice(b"\r\n");
                op
            }),
            ("[a-z.]{1,9}", body, any::<prop::sample::Index>()).prop_map(|(subject, body, at)| {
                let mut op =
                    format!("HPUB {subject} {} {}\r\n", at.index(body.len() + 1), body.len()).into_bytes();
                op.extend_from_slice(&body);
                op.extend_from_slice(b"\r\n");
                op
            }),
            // Around the limit of 64 bytes.
            "(SUB|UNSUB|-ERR|INFO|PING|\\+OK) {0,90}[a-z]{50,62}( [0-9]){0,6} {0,3}\r?\n"
                .prop_map(String::into_bytes),
            Just(b"BAD\r\n".to_vec()),
        ]
    }

    #[test]
    fn blanks_and_other_bytes_without_meaning_are_not_kept() {
        for (start, kept) in [("PING", 4), ("SUB", 4), ("CONNECT", 8)] {
            let (mut inbound, mut recorder) =
                (Inbound::default(), Recorder { seen: Vec::new(), stop_every: 9 });
            inbound.feed(start.as_bytes(), &mut recorder).unwrap();
            for _ in 0..100 {
                inbound.feed(&[b' '; 10_000], &mut recorder).unwrap();
                assert_eq!(inbound.tail.len(), kept, "{start}");
                assert!(inbound.held() <= KEEP_CAPACITY, "{}", inbound.held());
            }
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            ops in proptest::collection::vec(operation(), 0..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..40),
            stop_every in 1usize..20,
        ) {
            let stream = ops.concat();
            let whole = run(&[&stream], usize::MAX);
            prop_assert_eq!(&run(&cut(&stream, &cuts), stop_every), &whole);
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(&run(&bytes, usize::MAX), &whole);
        }

        #[test]
        fn garbage_never_panics(
            stream in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            prop_assert_eq!(run(&cut(&stream, &cuts), usize::MAX), run(&[&stream], usize::MAX));
        }

        #[test]
        fn near_garbage_never_panics(
            stream in "(PUB|HPUB|SUB|UNSUB|CONNECT|-ERR|INFO|PING)?[ \t\r\n0-9a-z{}:\"*.>+-]{0,80}",
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let stream = stream.as_bytes();
            prop_assert_eq!(run(&cut(stream, &cuts), usize::MAX), run(&[stream], usize::MAX));
        }
    }
}
