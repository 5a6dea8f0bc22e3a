//! Subjects: tokens separated by dots, with the wildcards `*` (one token) and `>` (the rest, one or more).
//!
//! Pure functions on bytes. A subject is any bytes except blanks and line ends; nothing here assumes UTF-8.

/// May a subscription be made on this? No empty token, and `>` only as the last one.
pub(crate) fn is_valid_pattern(subject: &[u8]) -> bool {
    let mut tokens = subject.split(|byte| *byte == b'.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || (token == b">" && tokens.peek().is_some()) {
            return false;
        }
    }
    true
}

/// Does a whole token equal `*` or `>`? (`foo*` and `a.b>` are plain names.)
pub(crate) fn has_wildcard(subject: &[u8]) -> bool {
    subject.split(|byte| *byte == b'.').any(|token| token == b"*" || token == b">")
}

/// May a message be published to this without reproach? (Asked only of pedantic clients and local callers.)
pub(crate) fn is_valid_literal(subject: &[u8]) -> bool {
    is_valid_pattern(subject) && !has_wildcard(subject)
}

/// No byte that would break a protocol line.
pub(crate) fn is_printable(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0))
}

/// Does `pattern` match `subject`? The plain definition that the router is tested against.
#[cfg(test)]
pub(crate) fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut wanted = pattern.split(|byte| *byte == b'.');
    let mut given = subject.split(|byte| *byte == b'.');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for good in ["foo", "*", ">", "foo.*", "*.*.>", "foo*", "foo.b>", "f\u{e9}.x", "$SYS.>"] {
            assert!(is_valid_pattern(good.as_bytes()), "{good}");
        }
        for bad in ["", "foo..bar", ".foo", "foo.", "foo.>.bar", ".", ">.x"] {
            assert!(!is_valid_pattern(bad.as_bytes()), "{bad}");
        }
        assert!(has_wildcard(b"a.*") && has_wildcard(b">") && !has_wildcard(b"a*.b>"));
        assert!(is_valid_literal(b"a.b") && !is_valid_literal(b"a.*") && !is_valid_literal(b"a."));
    }

    #[test]
    fn matching() {
        assert!(matches(b"a.*.c", b"a.b.c") && matches(b"a.>", b"a.b.c") && matches(b">", b"a"));
        assert!(!matches(b"a.>", b"a") && !matches(b"a.*", b"a.b.c") && !matches(b"a", b"b"));
    }
}
