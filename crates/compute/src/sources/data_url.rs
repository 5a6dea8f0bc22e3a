//! `data:` URLs (RFC 2397): media type and bytes. Pure.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Standard alphabet, padding optional, as browsers and Go's tools write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parts of a `data:` URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DataUrl {
    /// Media type in lower case without parameters; `text/plain` when none is given.
    pub(super) media_type: String,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
}

/// Reads a `data:` URL; the error is a short reason.
pub(super) fn parse(url: &str) -> Result<DataUrl, String> {
    let rest = url
        .trim()
        .split_once(':')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("data"))
        .map(|(_, rest)| rest)
        .ok_or("it does not start with 'data:'")?;
    let (head, data) = rest.split_once(',').ok_or("there is no ',' before the data")?;
    let mut parts = head.split(';').map(str::trim);
    let media_type = parts.next().filter(|t| !t.is_empty()).unwrap_or("text/plain").to_ascii_lowercase();
    let is_base64 = parts.any(|part| part.eq_ignore_ascii_case("base64"));
    let bytes = percent_decode(data)?;
    if !is_base64 {
        return Ok(DataUrl { media_type, bytes });
    }
    let text: Vec<u8> = bytes.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(text).map_err(|error| format!("its base64 data is damaged: {error}"))?;
    Ok(DataUrl { media_type, bytes })
}

fn percent_decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit =
            |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(high * 16 + low),
            _ => return Err("a '%' is not followed by two hexadecimal digits".to_owned()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(url: &str) -> Vec<u8> {
        parse(url).unwrap().bytes
    }

    #[test]
    fn both_encodings() {
        assert_eq!(bytes("data:,hello%20world"), b"hello world");
        assert_eq!(bytes("data:text/plain;charset=utf-8;base64,aGk="), b"hi");
        assert_eq!(bytes("DATA:;base64,aGk"), b"hi");
        assert_eq!(bytes("data:;base64,aGk%3D"), b"hi");
        assert_eq!(parse("data:Application/GZIP;base64,").unwrap().media_type, "application/gzip");
        assert_eq!(parse("data:,x").unwrap().media_type, "text/plain");
    }

    #[test]
    fn damaged_ones_say_why() {
        for (url, reason) in
            [("http://x", "data:"), ("data:x", "','"), ("data:,%4", "%"), ("data:;base64,!", "base64")]
        {
            assert!(parse(url).unwrap_err().contains(reason), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(data:)?.{0,60}") {
            let _ = parse(&text);
        }
    }
}
