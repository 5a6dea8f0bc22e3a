//! What keys and values of labels may look like, by Kubernetes' rules. Pure text checks.
//!
//! A key is a name of at most 63 characters, optionally after a DNS name and a slash. A value is such a name or empty.
//! Names have letters and digits at both ends and `-`, `_`, `.` inside.

/// Longest name, of a key or a value.
const LONGEST_NAME: usize = 63;
/// Longest DNS name before the slash.
const LONGEST_PREFIX: usize = 253;

/// Checks the key of a label.
pub(super) fn key(text: &str) -> Result<(), String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if let Some(prefix) = prefix
        && !is_dns_name(prefix)
    {
        return Err(format!(
            "the part of key {text:?} before '/' must be a lower-case DNS name such as example.com"
        ));
    }
    match is_name(name) {
        true => Ok(()),
        false => Err(format!("key {text:?} {RULE}")),
    }
}

/// Checks a value that a label named `key` is compared with.
pub(super) fn value(key: &str, text: &str) -> Result<(), String> {
    match text.is_empty() || is_name(text) {
        true => Ok(()),
        false => Err(format!("value {text:?} of key {key:?} {RULE}")),
    }
}

const RULE: &str =
    "must have at most 63 letters, digits, '-', '_' or '.', and start and end with a letter or digit";

fn is_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LONGEST_NAME
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= LONGEST_PREFIX && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        for good in ["a", "A-b_c.9", "example.com/x", "GPU-0-Memory", "favour_region"] {
            assert_eq!(key(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "Example.com/x", "a..b/x", "-a/x", "/x", "x/", "a/b/c", "é"] {
            assert!(key(bad).is_err(), "{bad}");
        }
        assert!(
            key(&format!("{}/x", "a".repeat(253))).is_ok() && key(&format!("{}/x", "a".repeat(254))).is_err()
        );
        assert!(value("k", "").is_ok() && value("k", "15360-MiB").is_ok());
        assert_eq!(value("k", "a b").unwrap_err(), format!("value \"a b\" of key \"k\" {RULE}"));
    }
}
