//! JSON as the decoder of Go servers reads it, for clients lean on that: the case of keys does not matter, the last of
//! several values counts, bytes that are no UTF-8 are replaced, and a value of another type spoils the document.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Reads a document; `null` is none.
///
/// # Errors
/// It is no JSON, or not of the types that are expected. Nothing of the error is kept: it could quote a secret.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<Option<T>, ()> {
    let json = readable(json);
    // Strings are read as bytes below, and then nobody looks for control characters in them.
    serde_json::from_slice::<IgnoredAny>(&json).map_err(|_| ())?;
    serde_json::from_slice(&json).map_err(|_| ())
}

/// A string. Halves of surrogate pairs, which only escapes can make here, are replaced.
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                let mut text = String::with_capacity(bytes.len());
                let mut invalid = 0;
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    for _ in chunk.invalid() {
                        // Half a pair comes as three bytes.
                        if invalid % 3 == 0 {
                            text.push(char::REPLACEMENT_CHARACTER);
                        }
                        invalid += 1;
                    }
                }
                Ok(Text(text))
            }
        }
        // As bytes, since half a pair has no place in a `str`.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Lists of subjects, by which servers tell each other what they want. A client has no use for them.
pub(super) struct Lists;

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Lists;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lists, A::Error> {
                while let Some(Text(key)) = map.next_key()? {
                    match &*folded(&key) {
                        "allow" | "deny" => drop(map.next_value::<Option<Vec<Option<Text>>>>()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Lists)
            }
        }
        deserializer.deserialize_map(Pair)
    }
}

/// A key without regard to case. Two letters outside of ASCII are a small `s` and `k` to those who do not look at it.
pub(super) fn folded(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return key.into();
    }
    let fold = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect::<String>().into()
}

/// JSON with each byte that is no UTF-8 replaced.
fn readable(json: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(json).is_ok() {
        return json.into();
    }
    let mut text = String::with_capacity(json.len());
    for chunk in json.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into_bytes().into()
}
