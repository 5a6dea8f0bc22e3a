//! Output as bytes: many pieces in one message, without JSON. Only between sides that both know it.
//!
//! A message is any number of pieces: stream (1 byte), length of the text (u32, little-endian), time (i64 nanoseconds
//! since 1970, little-endian), text. It cannot be taken for JSON, for no piece begins with a brace.

use super::LogLine;
use bytes::Bytes;

/// Bytes of a piece before its text.
const HEADER: usize = 13;

/// True for a message of this kind.
pub(super) fn is_packed(message: &[u8]) -> bool {
    matches!(message.first(), Some(1 | 2))
}

/// Appends a piece.
pub(super) fn put(message: &mut Vec<u8>, line: &LogLine) {
    let Ok(length) = u32::try_from(line.text.len()) else { return };
    message.push(line.stream);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&line.time.to_le_bytes());
    message.extend_from_slice(&line.text);
}

/// The pieces of a message; their texts share its memory.
///
/// # Errors
/// A message that is none, or that ends inside a piece.
pub(super) fn take(message: &Bytes) -> Result<Vec<LogLine>, String> {
    let mut lines = Vec::new();
    let mut rest: &[u8] = message;
    while !rest.is_empty() {
        let (line, tail) = piece(message, rest).ok_or("it ends inside a piece")?;
        if !is_packed(&[line.stream]) {
            return Err(format!("unknown stream {}", line.stream));
        }
        lines.push(line);
        rest = tail;
    }
    Ok(lines)
}

fn piece<'a>(message: &Bytes, rest: &'a [u8]) -> Option<(LogLine, &'a [u8])> {
    let (header, rest) = rest.split_first_chunk::<HEADER>()?;
    let (stream, header) = header.split_first()?;
    let (length, time) = header.split_first_chunk::<4>()?;
    let time = i64::from_le_bytes(time.try_into().ok()?);
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((LogLine { stream: *stream, time, text: message.slice_ref(text) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_come_back(pieces in proptest::collection::vec((1u8..3, any::<i64>(), proptest::collection::vec(any::<u8>(), 0..100)), 1..20), cut in 0usize..50) {
            let lines: Vec<LogLine> =
                pieces.into_iter().map(|(stream, time, text)| LogLine { stream, time, text: text.into() }).collect();
            let mut message = Vec::new();
            lines.iter().for_each(|line| put(&mut message, line));
            prop_assert!(is_packed(&message));
            let whole = message.len();
            message.truncate(whole.saturating_sub(cut));
            match take(&Bytes::from(message)) {
                Ok(taken) => prop_assert_eq!(&taken, &lines[..taken.len()]),
                Err(_) => prop_assert!(cut > 0),
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = take(&Bytes::from(bytes));
        }
    }
}
