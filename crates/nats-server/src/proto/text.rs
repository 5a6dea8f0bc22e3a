//! The error texts that clients know by heart: they are compared as lower-case substrings, so a letter counts.

/// Bad verb, empty line, missing end of a payload.
pub(crate) const UNKNOWN_OPERATION: &str = "Unknown Protocol Operation";
/// Line above `max_control_line`.
pub(crate) const CONTROL_LINE: &str = "maximum control line exceeded";
/// Declared size above `max_payload`.
pub(crate) const MAX_PAYLOAD: &str = "Maximum Payload Violation";
/// Bad or missing credentials.
pub(crate) const AUTHORIZATION: &str = "Authorization Violation";
/// No CONNECT in time.
pub(crate) const AUTH_TIMEOUT: &str = "Authentication Timeout";
/// Over `max_connections`.
pub(crate) const MAX_CONNECTIONS: &str = "maximum connections exceeded";
/// Over the connections that an account may have.
pub(crate) const MAX_ACCOUNT_CONNECTIONS: &str = "maximum account active connections exceeded";
/// The JWT of a connected user has expired.
pub(crate) const USER_EXPIRED: &str = "User Authentication Expired";
/// The JWT of its account has.
pub(crate) const ACCOUNT_EXPIRED: &str = "Account Authentication Expired";
/// The JWT of a connected user was revoked.
pub(crate) const USER_REVOKED: &str = "User Authentication Revoked";
/// Over `max_subscriptions`; the connection stays.
pub(crate) const MAX_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";
/// SUB on an empty token or with `>` not last; the connection stays.
pub(crate) const INVALID_SUBJECT: &str = "Invalid Subject";
/// PUB on a wildcard or an empty token by a pedantic client; the connection stays.
pub(crate) const INVALID_PUBLISH: &str = "Invalid Publish Subject";
/// CONNECT asks for no_responders but not for headers.
pub(crate) const NO_RESPONDERS: &str = "no responders requires headers support";
/// CONNECT with a protocol other than 0 or 1.
pub(crate) const CLIENT_PROTOCOL: &str = "invalid client protocol";
/// PINGs unanswered.
pub(crate) const STALE: &str = "Stale Connection";

/// Quotes a subject for an error text as Go does: printable characters as they are, the rest escaped, bytes that are no
/// text in hexadecimal.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0b' => text.push_str("\\v"),
                '\x0c' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if is_shown(c) => text.push(c),
                c if c <= '\u{ffff}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}

/// Is it a letter, mark, number or sign? The standard library tells that only by what it escapes; in the first place of a
/// string it escapes some marks too.
fn is_shown(c: char) -> bool {
    c.is_ascii() || c.escape_debug().count() == 1 || String::from_iter(['x', c]).escape_debug().count() == 2
}

/// Publishing to a subject that is not the client's to use.
pub(crate) fn publish_denied(subject: &[u8]) -> String {
    format!("Permissions Violation for Publish to {}", quoted(subject))
}

/// Publishing with a reply subject that is reserved.
pub(crate) fn reply_denied(reply: &[u8]) -> String {
    format!("Permissions Violation for Publish with Reply of {}", quoted(reply))
}

/// Subscribing to a subject, or in a queue, that is not the client's to use.
pub(crate) fn subscribe_denied(subject: &[u8], queue: Option<&[u8]>) -> String {
    let subject = quoted(subject);
    match queue {
        Some(queue) => {
            format!("Permissions Violation for Subscription to {subject} using queue {}", quoted(queue))
        }
        None => format!("Permissions Violation for Subscription to {subject}"),
    }
}

/// Subscribing to a subject with more tokens than it may have.
pub(crate) fn too_many_tokens(subject: &[u8]) -> String {
    format!("{}, too many tokens", subscribe_denied(subject, None))
}

/// A subscription is taken away, for its subject, or its queue, is not the client's to use any more.
pub(crate) fn subscription_removed(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> String {
    format!("{} (sid {})", subscribe_denied(subject, queue), quoted(sid))
}

/// Subjects that only servers use among themselves.
pub(crate) fn is_reserved_subject(subject: &[u8]) -> bool {
    subject.starts_with(b"$NRG.") || subject.starts_with(b"_GR_.")
}

/// Reply subjects with a meaning between servers; a client that could set them could forge answers.
pub(crate) fn is_reserved_reply(reply: &[u8]) -> bool {
    reply.starts_with(b"_R_.") || reply.starts_with(b"_GR_.") || reply.starts_with(b"$JS.ACK.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        let cases: &[(&[u8], &str)] = &[
            (b"a.b'c", r#""a.b'c""#),
            (b"\"\\", r#""\"\\""#),
            (b"\0\x07\x08\x0b\x0c\r\t\x1b\x7f", r#""\x00\a\b\v\f\r\t\x1b\x7f""#),
            (b"\xff\xc3\xe2\x80", r#""\xff\xc3\xe2\x80""#),
            ("\u{e9}\u{301}\u{1f600}\u{fffd}".as_bytes(), "\"\u{e9}\u{301}\u{1f600}\u{fffd}\""),
            ("\u{301}".as_bytes(), "\"\u{301}\""),
            (
                "\u{85}\u{a0}\u{ad}\u{2028}\u{feff}\u{e000}".as_bytes(),
                r#""\u0085\u00a0\u00ad\u2028\ufeff\ue000""#,
            ),
            ("\u{f0000}".as_bytes(), r#""\U000f0000""#),
        ];
        for (bytes, expected) in cases {
            assert_eq!(quoted(bytes), *expected);
        }
    }
}
