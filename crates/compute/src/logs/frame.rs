//! The format of a log file: frames of a 13-byte header and the printed bytes. Pure: no files here.
//!
//! Header: stream (1 byte), length of the payload (u32, little-endian), time (i64 nanoseconds since 1970,
//! little-endian). A file that ends inside a frame was cut by a crash; everything before that frame is valid.

use std::time::SystemTime;

/// Bytes of a frame's header.
pub const HEADER: usize = 13;

/// Most payload bytes in one frame; longer writes become several frames.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Where bytes were printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A remark of the node itself, for instance that the log was cut. Readers get it as standard error.
    System,
}

impl LogStream {
    /// The number in the file; that of the first two is also the one on the wire.
    pub fn number(self) -> u8 {
        match self {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::System => 3,
        }
    }

    fn from_number(number: u8) -> Option<LogStream> {
        match number {
            1 => Some(LogStream::Stdout),
            2 => Some(LogStream::Stderr),
            3 => Some(LogStream::System),
            _ => None,
        }
    }
}

/// Header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the bytes were printed.
    pub stream: LogStream,
    /// Payload bytes that follow.
    pub length: usize,
    /// When they were printed, nanoseconds since 1970.
    pub time: i64,
}

/// Reads a header; `None` when the bytes are too few or no header.
pub fn decode_header(bytes: &[u8]) -> Option<Header> {
    let (stream, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (time, _) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_PAYLOAD {
        return None;
    }
    Some(Header { stream: LogStream::from_number(*stream)?, length, time: i64::from_le_bytes(*time) })
}

/// Appends a frame to a buffer. Payload beyond [`MAX_PAYLOAD`] must have been split by the caller; it is cut here.
pub fn encode(buffer: &mut Vec<u8>, stream: LogStream, time: i64, payload: &[u8]) {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let length = u32::try_from(payload.len()).unwrap_or(0);
    buffer.push(stream.number());
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&time.to_le_bytes());
    buffer.extend_from_slice(payload);
}

/// Splits the first whole frame off; `None` when there is none.
pub fn split_frame(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = decode_header(bytes)?;
    let (payload, rest) = bytes.get(HEADER..)?.split_at_checked(header.length)?;
    Some((header, payload, rest))
}

/// How many bytes remain when a UTF-8 character that is incomplete at the end is left out. Bytes that can never become
/// a character count as whole.
pub(crate) fn whole_characters(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    let tail = bytes.get(start..).unwrap_or_default();
    let incomplete = (0..tail.len()).find(|&at| {
        let rest = tail.get(at..).unwrap_or_default();
        std::str::from_utf8(rest).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    });
    incomplete.map_or(bytes.len(), |at| start + at)
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back(frames in proptest::collection::vec((1u8..4, any::<i64>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..20), cut in 0usize..200) {
            let mut buffer = Vec::new();
            for (stream, time, payload) in &frames {
                encode(&mut buffer, LogStream::from_number(*stream).unwrap(), *time, payload);
            }
            let whole = buffer.len();
            buffer.truncate(whole.saturating_sub(cut));
            let (mut rest, mut read) = (buffer.as_slice(), 0);
            while let Some((header, payload, tail)) = split_frame(rest) {
                let (stream, time, expected) = &frames[read];
                prop_assert_eq!(header.stream.number(), *stream);
                prop_assert_eq!(header.time, *time);
                prop_assert_eq!(payload, expected.as_slice());
                rest = tail;
                read += 1;
            }
            prop_assert!(cut > 0 || read == frames.len());
        }

        #[test]
        fn only_incomplete_characters_are_left_out(text in ".{0,20}", cut in 0usize..4) {
            let bytes = text.as_bytes();
            let cut = &bytes[..bytes.len().saturating_sub(cut)];
            let whole = whole_characters(cut);
            prop_assert!(std::str::from_utf8(&cut[..whole]).is_ok() && cut.len() - whole < 4);
            prop_assert_eq!(whole_characters(bytes), bytes.len());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split_frame(&bytes);
        }
    }
}
