//! The parameters of a request. What cannot be decoded is as if it were not there, as in the NATS server; a parameter
//! with an unreadable value is an error.

use super::failure::Failure;

/// Decoded parameters, in their order.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the part of a URI after the question mark. Its length is bounded by that of a request's head.
    pub(super) fn parse(query: Option<&str>) -> Params {
        let pairs =
            query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        });
        Params(decoded.collect())
    }

    /// Those that could be decoded.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Parameters that came in another form than a query.
    pub(crate) fn of(pairs: Vec<(&str, String)>) -> Params {
        Params(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The first value of a parameter; empty counts as absent.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// # Errors
    /// If the value is none of those that mean yes or no.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        match self.text(key) {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Failure::bad(format!(
                "Error decoding boolean for '{key}': {other:?} is neither true nor false"
            ))),
        }
    }

    /// A whole number; one below zero counts as zero.
    ///
    /// # Errors
    /// If the value is no number.
    pub(super) fn count(&self, key: &str) -> Result<usize, Failure> {
        let Some(text) = self.text(key) else { return Ok(0) };
        let number: i64 = text
            .parse()
            .map_err(|_| Failure::bad(format!("Error decoding int for '{key}': {text:?} is not a number")))?;
        Ok(usize::try_from(number.max(0)).unwrap_or(usize::MAX))
    }

    /// A number without sign; absent is zero.
    ///
    /// # Errors
    /// If the value is no such number.
    pub(super) fn number(&self, key: &str) -> Result<u64, Failure> {
        let Some(text) = self.text(key) else { return Ok(0) };
        text.parse()
            .map_err(|_| Failure::bad(format!("Error decoding uint64 for '{key}': {text:?} is not a number")))
    }
}

/// `+` and `%xx`; `None` for a `%` without two digits, and for bytes that are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let params = Params::parse(Some("a=1&b=x%3Cy+z&a=2&&c&d=%z1&e=%C3%A4&f=%ff&g=1;2&h=-4&i=%2"));
        assert_eq!((params.text("a"), params.text("b")), (Some("1"), Some("x<y z")));
        assert_eq!((params.text("c"), params.text("e")), (None, Some("ä")));
        for gone in ["d", "f", "g", "i", "nope"] {
            assert_eq!(params.text(gone), None, "{gone}");
        }
        assert!(params.flag("a").unwrap() && !params.flag("c").unwrap() && params.flag("b").is_err());
        assert_eq!((params.count("h").unwrap(), params.count("a").unwrap()), (0, 1));
        assert!(params.number("h").is_err() && params.count("e").is_err());
    }
}
