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

/// No token is empty; only such a subject is one that a pattern can be about.
pub(crate) fn has_no_gap(subject: &[u8]) -> bool {
    subject.split(|byte| *byte == b'.').all(|token| !token.is_empty())
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

/// Does `pattern` match `subject`? Wildcards in `subject` are ordinary names. The plain definition that the router is
/// tested against.
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

/// Does `wide` match everything that `narrow` matches?
pub(crate) fn is_subset(narrow: &[u8], wide: &[u8]) -> bool {
    let mut wide = wide.split(|byte| *byte == b'.');
    for token in narrow.split(|byte| *byte == b'.') {
        match (wide.next(), token) {
            (Some(b">"), _) => return true,
            (None, _) | (Some(_), b">") => return false,
            (Some(b"*"), _) => {}
            (Some(name), token) if name == token => {}
            _ => return false,
        }
    }
    wide.next().is_none()
}

/// Is there a subject that both match?
pub(crate) fn overlap(one: &[u8], other: &[u8]) -> bool {
    let mut one = one.split(|byte| *byte == b'.');
    let mut other = other.split(|byte| *byte == b'.');
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(b">"), _) | (_, Some(b">")) => return true,
            (Some(b"*"), _) | (_, Some(b"*")) => {}
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

    /// Every pattern of up to three tokens out of two names and the wildcards.
    fn all(tokens: &[&str]) -> Vec<String> {
        let one = |prefix: &str| {
            tokens
                .iter()
                .map(move |t| if prefix.is_empty() { (*t).to_owned() } else { format!("{prefix}.{t}") })
                .collect()
        };
        let first: Vec<String> = one("");
        let second: Vec<String> = first.iter().flat_map(|p| one(p)).collect();
        let third: Vec<String> = second.iter().flat_map(|p| one(p)).collect();
        first.into_iter().chain(second).chain(third).filter(|p| is_valid_pattern(p.as_bytes())).collect()
    }

    #[test]
    fn subset_and_overlap_are_what_matching_says() {
        let subjects = all(&["a", "b"]);
        let patterns = all(&["a", "b", "*", ">"]);
        let hits =
            |p: &str| subjects.iter().filter(|s| matches(p.as_bytes(), s.as_bytes())).collect::<Vec<_>>();
        for one in &patterns {
            for other in &patterns {
                let (mine, theirs) = (hits(one), hits(other));
                let shared = mine.iter().any(|s| theirs.contains(s));
                assert_eq!(overlap(one.as_bytes(), other.as_bytes()), shared, "{one} {other}");
                // Subjects are cut off at three tokens, so `a.b.>` and `a.b.*` cannot be told apart here.
                if !one.ends_with('>') {
                    let within = mine.iter().all(|s| theirs.contains(s));
                    let exact = is_subset(one.as_bytes(), other.as_bytes());
                    assert!(!exact || within, "{one} {other}");
                    assert!(exact || !within || one.contains('*'), "{one} {other}");
                }
            }
        }
        assert!(!is_subset(b"a.>", b"a.*") && is_subset(b"a.*", b"a.>") && is_subset(b"a.b.>", b"a.>"));
        assert!(!is_subset(b">", b"a.>") && is_subset(b">", b">") && !is_subset(b"a.*", b"a.b"));
    }

    #[test]
    fn matching() {
        assert!(matches(b"a.*.c", b"a.b.c") && matches(b"a.>", b"a.b.c") && matches(b">", b"a"));
        assert!(!matches(b"a.>", b"a") && !matches(b"a.*", b"a.b.c") && !matches(b"a", b"b"));
    }
}
