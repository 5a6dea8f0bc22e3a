//! NATS message headers: the `NATS/1.0` block in front of a payload.
//!
//! Bacalhau 1.9 copies the metadata of every envelope into headers. Readers take the metadata from the envelope, so
//! a header that cannot be written (a line break in its value) is left out rather than failing the message.

use std::fmt::Write as _;

/// First line of every block, without a status.
const VERSION_LINE: &str = "NATS/1.0";

/// Header pairs in the order they are written. Names compare without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    pub const NONE: Headers = Headers(Vec::new());

    /// Adds a pair. A name or value that would break the block is ignored.
    pub fn push(&mut self, name: &str, value: &str) {
        let name_stands = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if name_stands && !value.contains(['\r', '\n']) {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// True when there is none; such a message travels without a block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the block on the wire; they count towards the server's maximum payload.
    pub fn wire_size(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let pairs: usize = self.0.iter().map(|(n, v)| n.len() + v.len() + ": \r\n".len()).sum();
        VERSION_LINE.len() + "\r\n\r\n".len() + pairs
    }

    /// The block as it stands in front of the payload; empty when there are no headers.
    pub fn to_block(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut block = String::with_capacity(self.wire_size());
        block.push_str(VERSION_LINE);
        block.push_str("\r\n");
        for (name, value) in &self.0 {
            // Writing into a String does not fail.
            let _ = write!(block, "{name}: {value}\r\n");
        }
        block.push_str("\r\n");
        block.into_bytes()
    }

    /// Reads a block: the status (503 for "no responders") and the pairs. Lines that are no pairs are skipped.
    pub fn parse_block(block: &[u8]) -> (Option<u16>, Headers) {
        let text = String::from_utf8_lossy(block);
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix(VERSION_LINE))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|word| word.parse().ok());
        let mut headers = Headers::default();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            headers.push(name.trim(), value.trim());
        }
        (status, headers)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.push(name, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back() {
        let headers: Headers = [("A", "1"), ("Bacalhau-Type", "BidResult")].into_iter().collect();
        let block = headers.to_block();
        assert_eq!(block, b"NATS/1.0\r\nA: 1\r\nBacalhau-Type: BidResult\r\n\r\n");
        assert_eq!(block.len(), headers.wire_size());
        assert_eq!(Headers::parse_block(&block), (None, headers));
        assert_eq!(Headers::NONE.to_block().len(), Headers::NONE.wire_size());
    }

    #[test]
    fn no_responders_is_a_status() {
        let (status, headers) = Headers::parse_block(b"NATS/1.0 503\r\nNats-Subject: a.b\r\n\r\n");
        assert_eq!((status, headers.get("nats-subject")), (Some(503), Some("a.b")));
        assert_eq!(Headers::parse_block(b"NATS/1.0 503 No Responders\r\n\r\n").0, Some(503));
        assert_eq!(Headers::parse_block(b"\xff\xfe"), (None, Headers::NONE));
    }

    #[test]
    fn values_cannot_break_out() {
        let headers: Headers =
            [("A", "1\r\nB: 2"), ("C\n", "x"), ("D:", "x"), ("", "x")].into_iter().collect();
        assert!(headers.is_empty());
    }
}
