//! Writes messages in the form a receiver reads. Appends to anything that takes bytes; knows no sockets.

use super::parser::{Publish, Sizes};

/// Where bytes go.
pub(crate) trait Put {
    /// Appends all of `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A message on its way to receivers, from a socket or from a local client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) reply: Option<&'a [u8]>,
    /// The header block, if the publisher sent one.
    pub(crate) headers: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
    /// Sizes to be written as given; `None`: write the lengths.
    pub(crate) sizes: Option<Sizes<'a>>,
    /// Everything behind the subject and the sid, ready to be copied.
    pub(crate) forward: Option<&'a [u8]>,
}

impl<'a> From<&Publish<'a>> for Outgoing<'a> {
    fn from(publish: &Publish<'a>) -> Self {
        Self {
            subject: publish.subject,
            reply: publish.reply,
            headers: publish.headers,
            body: publish.body,
            sizes: Some(publish.sizes),
            forward: publish.forward,
        }
    }
}

impl Outgoing<'_> {
    /// Headers and body, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.headers.map_or(0, <[u8]>::len) + self.body.len()
    }

    /// At least the bytes that `write` will append.
    pub(crate) fn wire_size(&self, sid: &[u8]) -> usize {
        self.subject.len() + sid.len() + self.reply.map_or(0, <[u8]>::len) + self.size() + 40
    }

    /// Appends MSG or HMSG for one subscription. `sid` has a blank on both sides. A receiver without headers gets the
    /// body alone.
    #[inline]
    pub(crate) fn write(&self, to: &mut impl Put, sid: &[u8], with_headers: bool) {
        self.write_head(to, sid, with_headers);
        self.write_tail(to, with_headers);
    }

    /// Appends what differs between receivers.
    #[inline]
    pub(crate) fn write_head(&self, to: &mut impl Put, sid: &[u8], with_headers: bool) {
        let has_headers = with_headers && self.headers.is_some();
        to.put(if has_headers { b"HMSG " } else { b"MSG " });
        to.put(self.subject);
        to.put(sid);
    }

    /// Appends what is behind it, the same for all receivers that get headers, and for all that do not.
    #[inline]
    pub(crate) fn write_tail(&self, to: &mut impl Put, with_headers: bool) {
        let headers = if with_headers { self.headers } else { None };
        if let Some(ready) = self.forward
            && headers.is_some() == self.headers.is_some()
        {
            to.put(ready);
            return;
        }
        if let Some(reply) = self.reply {
            to.put(reply);
            to.put(b" ");
        }
        let as_given = self.sizes.filter(|_| headers.is_some() == self.headers.is_some());
        if let Some(headers) = headers {
            put_size(to, as_given.map(|sizes| sizes.headers), headers.len());
            to.put(b" ");
            put_size(to, as_given.map(|sizes| sizes.total), self.size());
        } else {
            put_size(to, as_given.map(|sizes| sizes.total), self.body.len());
        }
        to.put(b"\r\n");
        to.put(headers.unwrap_or_default());
        to.put(self.body);
        to.put(b"\r\n");
    }
}

fn put_size(to: &mut impl Put, as_given: Option<&[u8]>, value: usize) {
    match as_given {
        Some(text) => to.put(text),
        None => to.put(value.to_string().as_bytes()),
    }
}

/// The header block that tells a requester that nobody listens on `subject`.
pub(crate) fn no_responders(subject: &[u8]) -> Vec<u8> {
    [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat()
}

/// `-ERR` with its text.
pub(crate) fn error_line(text: &str) -> Vec<u8> {
    format!("-ERR '{text}'\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::parser::{Limits, Op, Step, parse};

    fn relay(input: &str, with_headers: bool) -> String {
        let limits = Limits { control_line: 4096, payload: 1024, connect_only: false, headers: true };
        let Step::Op(Op::Publish(publish), _) = parse(input.as_bytes(), &limits) else { panic!("{input}") };
        let mut out = Vec::new();
        Outgoing::from(&publish).write(&mut out, b" 7 ", with_headers);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_ways_give_the_same_bytes() {
        assert_eq!(relay("PUB a 0002\r\nhi\r\n", true), "MSG a 7 0002\r\nhi\r\n");
        assert_eq!(relay("PUB  a  \t0002 \nhi\r\n", true), "MSG a 7 0002\r\nhi\r\n");
        assert_eq!(relay("PUB a r 2\r\nhi\r\n", false), "MSG a 7 r 2\r\nhi\r\n");
        assert_eq!(relay("PUB a  r  2\r\nhi\r\n", false), "MSG a 7 r 2\r\nhi\r\n");
    }

    #[test]
    fn headers_are_cut_off_for_who_cannot_read_them() {
        let input = "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        assert_eq!(relay(input, true), "HMSG a 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!(relay(input, false), "MSG a 7 r 2\r\nhi\r\n");
    }

    #[test]
    fn no_responders_block() {
        assert_eq!(no_responders(b"nobody").len(), 32 + 6);
    }
}
