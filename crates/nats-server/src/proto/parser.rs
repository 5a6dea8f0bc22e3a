//! Reads one operation from the start of a byte slice. Pure and without allocation: every part of the result points
//! into the input. It never looks back, so feeding it any prefix is safe: it says how much more it needs.

use std::ops::Range;

use memchr::memchr;

use super::usual;

/// Limits that decide while reading, before anything is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest argument of a line, in bytes; blanks between and behind its parts count.
    pub(crate) control_line: usize,
    /// Largest declared size of a message, in bytes.
    pub(crate) payload: usize,
    /// Only CONNECT is acceptable: the client has yet to show its credentials.
    pub(crate) connect_only: bool,
    /// HPUB is acceptable: the client said it speaks headers.
    pub(crate) headers: bool,
}

/// What is wrong with the bytes; each of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No operation starts like this, or a payload does not end where it should.
    UnknownOperation,
    /// An operation with arguments that make no sense; the client is told nothing.
    Malformed,
    /// The line is too long.
    ControlLine,
    /// The message is too large.
    MaxPayload,
    /// Something else than CONNECT although credentials are needed.
    NotAuthorized,
}

/// Result of reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// One operation and the number of bytes it took.
    Op(Op<'a>, usize),
    /// More bytes are needed; if the whole length is known already, this many from the start of the operation, else 0.
    Need(usize),
    /// The connection must be closed.
    Fail(Fault),
}

/// An operation of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    /// The JSON document.
    Connect(&'a [u8]),
    /// PUB or HPUB.
    Publish(Publish<'a>),
    /// SUB.
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    /// UNSUB; without a usable maximum it means "now".
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
    Ping,
    Pong,
    /// The JSON document; a client has nothing to say with it.
    Info(&'a [u8]),
    /// `+OK`.
    Ok,
    /// `-ERR`; a client that sends it wants to be gone.
    Err,
}

/// A message as it came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) reply: Option<&'a [u8]>,
    /// The header block of HPUB; one of no bytes is none.
    pub(crate) headers: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
    /// The sizes as written by the client; they are passed on letter by letter.
    pub(crate) sizes: Sizes<'a>,
    /// From the argument after the subject to the end of the payload's line end, if that can be passed on unchanged.
    pub(crate) forward: Option<&'a [u8]>,
    /// From the subject to the end of the body.
    pub(crate) frame: &'a [u8],
    /// Where the reply starts in `frame`.
    pub(crate) reply_at: usize,
}

/// The size arguments of PUB (`total`) and HPUB (`headers` and `total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes<'a> {
    pub(crate) headers: &'a [u8],
    pub(crate) total: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Connect,
    Info,
    Ping,
    Pong,
    Ok,
    Err,
}

impl Verb {
    /// Others say all with their name: what follows up to the line end is passed over.
    fn has_argument(self) -> bool {
        !matches!(self, Verb::Ping | Verb::Pong | Verb::Ok)
    }
}

/// Bytes of an argument that count against the limit: all but the CR of the line end. So it does not matter for the limit
/// whether a line is judged when it is complete or, being too long already, before that.
fn counted(argument: &[u8]) -> usize {
    argument.strip_suffix(b"\r").unwrap_or(argument).len()
}

/// Blanks between a verb and its argument.
#[inline]
fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// The part of an incomplete line that says nothing: blanks before the argument but for one, and all that follows a
/// verb without an argument. There is no limit for it, so it must not be kept.
pub(crate) fn idle_part(line: &[u8]) -> Range<usize> {
    let Ok(Some((verb, word))) = verb(line) else { return 0..0 };
    let rest = line.get(word..).unwrap_or_default();
    if !verb.has_argument() {
        return word..line.len();
    }
    let blanks = blanks(rest);
    word + blanks.min(1)..word + blanks
}

/// Reads the operation at the start of `input`.
#[inline]
pub(crate) fn parse<'a>(input: &'a [u8], limits: &Limits) -> Step<'a> {
    if limits.connect_only && input.first().is_some_and(|first| !first.eq_ignore_ascii_case(&b'C')) {
        return Step::Fail(Fault::NotAuthorized);
    }
    if let Some((publish, len)) = usual::publication(input, limits) {
        return Step::Op(Op::Publish(publish), len);
    }
    parse_any(input, limits)
}

/// Reads every form of every operation.
pub(super) fn parse_any<'a>(input: &'a [u8], limits: &Limits) -> Step<'a> {
    let (verb, word) = match verb(input) {
        Ok(Some(found)) => found,
        Ok(None) => return Step::Need(0),
        Err(fault) => return Step::Fail(fault),
    };
    let rest = input.get(word..).unwrap_or_default();
    // These verbs are followed by a blank; the others take what comes.
    if matches!(verb, Verb::Pub | Verb::Hpub | Verb::Sub | Verb::Unsub | Verb::Err) {
        match rest.first() {
            None => return Step::Need(0),
            Some(b' ' | b'\t') => {}
            Some(_) => return Step::Fail(Fault::UnknownOperation),
        }
    }
    let has_argument = verb.has_argument();
    let blanks = if has_argument { blanks(rest) } else { 0 };
    // An argument may begin with LF, as if it were a blank: that one does not end the line. Not so with subjects that go
    // on to subscribers.
    let may_begin = has_argument && !matches!(verb, Verb::Pub | Verb::Hpub);
    let from = blanks + usize::from(may_begin && rest.get(blanks) == Some(&b'\n'));
    let line_len = memchr(b'\n', rest.get(from..).unwrap_or_default()).map(|at| from + at);
    let line = rest.get(..line_len.unwrap_or(rest.len())).unwrap_or_default();
    if has_argument && counted(line.get(blanks..).unwrap_or_default()) > limits.control_line {
        return Step::Fail(Fault::ControlLine);
    }
    let Some(line_len) = line_len else { return Step::Need(0) };
    let end = word + line_len + 1;
    let args = Args::split(line, verb);
    match verb {
        Verb::Ping => Step::Op(Op::Ping, end),
        Verb::Pong => Step::Op(Op::Pong, end),
        Verb::Ok => Step::Op(Op::Ok, end),
        Verb::Err => Step::Op(Op::Err, end),
        Verb::Connect => Step::Op(Op::Connect(args.all()), end),
        Verb::Info => Step::Op(Op::Info(args.all()), end),
        Verb::Sub => subscribe(&args, end),
        Verb::Unsub => unsubscribe(&args, end),
        Verb::Pub | Verb::Hpub => publish(input, word, end, &args, verb == Verb::Hpub, limits),
    }
}

/// The verb at the start and its length; `None` if it is not complete.
#[inline]
fn verb(input: &[u8]) -> Result<Option<(Verb, usize)>, Fault> {
    let Some(first) = input.first() else { return Ok(None) };
    let (verb, word): (Verb, &[u8]) = match first.to_ascii_uppercase() {
        b'P' => match input.get(1).map(u8::to_ascii_uppercase) {
            None => return Ok(None),
            Some(b'U') => (Verb::Pub, b"PUB"),
            Some(b'I') => (Verb::Ping, b"PING"),
            Some(b'O') => (Verb::Pong, b"PONG"),
            Some(_) => return Err(Fault::UnknownOperation),
        },
        b'H' => (Verb::Hpub, b"HPUB"),
        b'S' => (Verb::Sub, b"SUB"),
        b'U' => (Verb::Unsub, b"UNSUB"),
        b'C' => (Verb::Connect, b"CONNECT"),
        b'I' => (Verb::Info, b"INFO"),
        b'+' => (Verb::Ok, b"+OK"),
        b'-' => (Verb::Err, b"-ERR"),
        _ => return Err(Fault::UnknownOperation),
    };
    let given = input.get(..word.len()).unwrap_or(input);
    if !given.iter().zip(word).all(|(byte, wanted)| byte.to_ascii_uppercase() == *wanted) {
        return Err(Fault::UnknownOperation);
    }
    Ok((given.len() == word.len()).then_some((verb, word.len())))
}

/// At most this many arguments are told apart; more are an error for every verb.
const MAX_ARGS: usize = 5;

/// The arguments of a line, with where they are.
struct Args<'a> {
    line: &'a [u8],
    spans: [(usize, usize); MAX_ARGS],
    count: usize,
}

/// Where the arguments of a line without its LF end. The CR before that is none of them; if a CR is elsewhere, behind the
/// first byte of the arguments, the last byte is left out just so, which is how other servers read lines.
#[inline]
fn arguments_end(line: &[u8]) -> usize {
    let first = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let behind = line.get(first + 1..).unwrap_or_default();
    let has_cr = behind.last() == Some(&b'\r') || memchr(b'\r', behind).is_some();
    line.len() - usize::from(has_cr)
}

impl<'a> Args<'a> {
    #[inline]
    fn split(line: &'a [u8], verb: Verb) -> Self {
        let mut args = Self { line, spans: [(0, 0); MAX_ARGS], count: 0 };
        let mut start = None;
        // To PUB and HPUB a CR is a byte of an argument.
        let cr_is_blank = !matches!(verb, Verb::Pub | Verb::Hpub);
        let end = arguments_end(line);
        for (at, byte) in line.iter().take(end).enumerate() {
            let blank = matches!(byte, b' ' | b'\t') || (matches!(byte, b'\r' | b'\n') && cr_is_blank);
            match (start, blank) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    args.push(from, at);
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            args.push(from, end);
        }
        args
    }

    #[inline]
    fn push(&mut self, from: usize, to: usize) {
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = (from, to);
            self.count += 1;
        } else if let Some(last) = self.spans.last_mut() {
            // Keeps `all` right for lines with many blanks, such as JSON.
            last.1 = to;
        }
    }

    #[inline]
    fn span(&self, index: usize) -> (usize, usize) {
        self.spans.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn get(&self, index: usize) -> &'a [u8] {
        let (from, to) = self.span(index);
        self.line.get(from..to).unwrap_or_default()
    }

    /// From the first argument to the end of the last one.
    fn all(&self) -> &'a [u8] {
        let last = self.span(self.count.saturating_sub(1));
        self.line.get(self.span(0).0..last.1).unwrap_or_default()
    }
}

fn subscribe<'a>(args: &Args<'a>, end: usize) -> Step<'a> {
    match args.count {
        2 => Step::Op(Op::Subscribe { subject: args.get(0), queue: None, sid: args.get(1) }, end),
        3 => {
            Step::Op(Op::Subscribe { subject: args.get(0), queue: Some(args.get(1)), sid: args.get(2) }, end)
        }
        _ => Step::Fail(Fault::Malformed),
    }
}

fn unsubscribe<'a>(args: &Args<'a>, end: usize) -> Step<'a> {
    match args.count {
        1 => Step::Op(Op::Unsubscribe { sid: args.get(0), max: None }, end),
        2 => {
            let max = number(args.get(1)).map(|max| max as u64);
            Step::Op(Op::Unsubscribe { sid: args.get(0), max }, end)
        }
        _ => Step::Fail(Fault::Malformed),
    }
}

#[inline]
fn publish<'a>(
    input: &'a [u8],
    word: usize,
    end: usize,
    args: &Args<'a>,
    with_headers: bool,
    limits: &Limits,
) -> Step<'a> {
    let sizes_from = match (args.count, with_headers) {
        (2, false) | (3, true) => 1,
        (3, false) | (4, true) => 2,
        _ => return Step::Fail(Fault::Malformed),
    };
    if with_headers && !limits.headers {
        return Step::Fail(Fault::Malformed);
    }
    let sizes = Sizes {
        headers: if with_headers { args.get(sizes_from) } else { &[] },
        total: args.get(args.count - 1),
    };
    let Some(total) = number(sizes.total) else { return Step::Fail(Fault::Malformed) };
    let header_len = if with_headers {
        match number(sizes.headers) {
            Some(len) if len <= total => len,
            _ => return Step::Fail(Fault::Malformed),
        }
    } else {
        0
    };
    if total > limits.payload {
        return Step::Fail(Fault::MaxPayload);
    }
    let need = end + total + 2;
    let Some(payload) = input.get(end..end + total) else { return Step::Need(need) };
    match input.get(end + total..).unwrap_or_default() {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] => return Step::Need(need),
        _ => return Step::Fail(Fault::UnknownOperation),
    }
    let Some((headers, body)) = payload.split_at_checked(header_len) else {
        return Step::Fail(Fault::Malformed);
    };
    let (subject_from, _) = args.span(0);
    let (rest_from, _) = args.span(1);
    // Single blanks between the arguments and a plain CR LF behind them: then the receiver may see the same bytes.
    let mut plain = args.line.get(args.span(args.count - 1).1..) == Some(b"\r");
    // Without a header block HPUB goes on as a plain message, which has one size less.
    plain &= with_headers == (header_len > 0);
    for index in 2..args.count {
        let before = args.span(index - 1).1;
        plain &= args.line.get(before..args.span(index).0) == Some(b" ");
    }
    let op = Publish {
        subject: args.get(0),
        reply: (sizes_from == 2).then(|| args.get(1)),
        headers: (header_len > 0).then_some(headers),
        body,
        sizes,
        forward: if plain { input.get(word + rest_from..need) } else { None },
        frame: input.get(word + subject_from..end + total).unwrap_or_default(),
        reply_at: rest_from - subject_from,
    };
    Step::Op(Op::Publish(op), need)
}

/// A size: one to nine decimal digits.
#[inline]
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter()
        .try_fold(0usize, |value, byte| byte.is_ascii_digit().then(|| value * 10 + usize::from(byte - b'0')))
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
