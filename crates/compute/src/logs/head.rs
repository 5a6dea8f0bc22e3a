//! The first bytes of a stream, kept for the execution record. Pure.

use super::frame;
use bacalhau_model::RunCommandResult;

const LIMIT: usize = RunCommandResult::INLINE_LIMIT;

/// Collects the first [`RunCommandResult::INLINE_LIMIT`] bytes of a stream and remembers whether there were more.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Head {
    /// Takes what still fits.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = LIMIT.saturating_sub(self.bytes.len());
        match bytes.split_at_checked(room) {
            Some((fits, rest)) => {
                self.bytes.extend_from_slice(fits);
                self.truncated |= !rest.is_empty();
            }
            None => self.bytes.extend_from_slice(bytes),
        }
    }

    /// The text, at most the limit long, and whether there was more. A character that the limit cuts in two is left
    /// out; bytes that are no UTF-8 become replacement characters.
    pub(crate) fn text(&self) -> (String, bool) {
        let length = if self.truncated { frame::whole_characters(&self.bytes) } else { self.bytes.len() };
        let bytes = self.bytes.get(..length).unwrap_or(&self.bytes);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        let mut truncated = self.truncated;
        if text.len() > LIMIT {
            // A replacement character is longer than the byte it stands for.
            text.truncate(text.floor_char_boundary(LIMIT));
            truncated = true;
        }
        (text, truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(chunks: &[&[u8]]) -> (String, bool) {
        let mut head = Head::default();
        chunks.iter().for_each(|chunk| head.push(chunk));
        head.text()
    }

    #[test]
    fn exactly_the_limit_is_not_truncated() {
        let full = vec![b'x'; LIMIT];
        assert_eq!(head(&[&full]), ("x".repeat(LIMIT), false));
        assert_eq!(head(&[&full, b""]), ("x".repeat(LIMIT), false));
        assert_eq!(head(&[&full, b"y"]), ("x".repeat(LIMIT), true));
        assert_eq!(head(&[]), (String::new(), false));
    }

    #[test]
    fn a_character_at_the_cut_is_left_out() {
        let mut text = "x".repeat(LIMIT - 1);
        text.push('é');
        assert_eq!(head(&[text.as_bytes()]), ("x".repeat(LIMIT - 1), true));
        let mut bytes = vec![0xFF];
        bytes.extend_from_slice("x".repeat(LIMIT - 3).as_bytes());
        bytes.extend_from_slice("€".as_bytes());
        let (text, truncated) = head(&[&bytes]);
        assert!(truncated && text.ends_with('x') && text.starts_with('\u{FFFD}'), "{text}");
    }

    #[test]
    fn an_incomplete_character_that_was_really_printed_is_shown() {
        assert_eq!(head(&[&[b'a', 0xC3]]), ("a\u{FFFD}".to_owned(), false));
    }

    proptest! {
        #[test]
        fn never_longer_than_the_limit(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1500), 0..5)) {
            let total: usize = chunks.iter().map(Vec::len).sum();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let (text, truncated) = head(&chunks);
            prop_assert!(text.len() <= LIMIT);
            prop_assert!(truncated || total <= LIMIT);
        }
    }
}
