//! What a local subscriber receives, and the header block.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::error::Error;

/// A subject as text. Cheap to clone. Derefs to `str`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Bytes);

impl Subject {
    /// Takes bytes from the wire. Subjects are bytes in NATS; what is not UTF-8 is shown with replacement characters.
    pub(crate) fn from_wire(bytes: Bytes) -> Self {
        match String::from_utf8_lossy(&bytes) {
            std::borrow::Cow::Borrowed(_) => Self(bytes),
            std::borrow::Cow::Owned(text) => Self(text.into()),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Always UTF-8: both constructors see to it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Subject {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message. Clones share its memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject it was published to.
    pub subject: Subject,
    /// Where an answer is expected.
    pub reply: Option<Subject>,
    /// The raw header block (`NATS/1.0` to the empty line), if the publisher sent one.
    pub headers: Option<Bytes>,
    /// The payload.
    pub payload: Bytes,
}

impl Message {
    /// Headers and payload, in bytes.
    pub fn size(&self) -> usize {
        self.headers.as_ref().map_or(0, Bytes::len) + self.payload.len()
    }

    /// True if this is the server's word that nobody received the request (status 503 and no payload).
    pub fn is_no_responders(&self) -> bool {
        self.payload.is_empty() && self.headers.as_deref().and_then(HeaderBlock::status) == Some(503)
    }

    /// The first value of a header; names are compared as written.
    pub fn header(&self, name: &str) -> Option<&str> {
        HeaderBlock::entries(self.headers.as_deref()?).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Message {
    /// Sizes instead of contents: payloads may hold secrets and are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject)
            .field("reply", &self.reply)
            .field("headers_len", &self.headers.as_ref().map(Bytes::len))
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// Builds and reads header blocks: a version line, `Key: value` lines and an empty line.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    lines: Vec<u8>,
}

impl HeaderBlock {
    const VERSION: &'static [u8] = b"NATS/1.0";

    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If the key is empty, or has a colon, a blank or a control character, or the value has a line end.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<&mut Self, Error> {
        if key.is_empty() || key.bytes().any(|byte| byte <= b' ' || byte == b':' || byte == 0x7f) {
            return Err(Error::Headers("a key is empty or has a colon, blank or control character"));
        }
        if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(Error::Headers("a value has a line end"));
        }
        for part in [key, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
        Ok(self)
    }

    /// The block as it goes over the wire.
    pub fn to_bytes(&self) -> Bytes {
        [Self::VERSION, b"\r\n", &self.lines, b"\r\n"].concat().into()
    }

    /// Refuses what other clients could not read.
    pub(crate) fn check(block: &[u8]) -> Result<(), Error> {
        if !block.starts_with(Self::VERSION) {
            return Err(Error::Headers("it must start with NATS/1.0"));
        }
        if !block.ends_with(b"\r\n\r\n") {
            return Err(Error::Headers("it must end with an empty line"));
        }
        Ok(())
    }

    /// The status number of the version line (`NATS/1.0 503` gives 503).
    pub fn status(block: &[u8]) -> Option<u16> {
        let line = block.strip_prefix(Self::VERSION)?;
        let line = line.split(|byte| *byte == b'\r').next()?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Keys and values of a block, in order; lines without a colon and lines that are not UTF-8 are skipped.
    pub fn entries(block: &[u8]) -> impl Iterator<Item = (&str, &str)> {
        block.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
            let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
            line.split_once(':').map(|(key, value)| (key, value.trim()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_round_trip() {
        let mut block = HeaderBlock::new();
        block.insert("A", "b c").unwrap().insert("X-Y", "").unwrap();
        assert!(block.insert("A b", "c").is_err() && block.insert("A", "c\r\nD: e").is_err());
        let bytes = block.to_bytes();
        assert_eq!(&bytes[..], b"NATS/1.0\r\nA: b c\r\nX-Y: \r\n\r\n");
        assert!(HeaderBlock::check(&bytes).is_ok() && HeaderBlock::check(b"A: b\r\n\r\n").is_err());
        assert_eq!(HeaderBlock::entries(&bytes).collect::<Vec<_>>(), [("A", "b c"), ("X-Y", "")]);
        assert_eq!(HeaderBlock::status(&bytes), None);
        assert_eq!(HeaderBlock::status(b"NATS/1.0 503 No Responders\r\n\r\n"), Some(503));
    }

    #[test]
    fn subjects_are_text() {
        assert_eq!(Subject::from_wire(Bytes::from_static(b"a.\xff")).as_str(), "a.\u{fffd}");
        assert_eq!(&*Subject::from("a.b"), "a.b");
    }
}
