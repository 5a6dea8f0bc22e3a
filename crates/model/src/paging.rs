//! Paging tokens: opaque to clients, but of the same form as Bacalhau 1.9's.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As forgiving as the decoder of Bacalhau 1.9: spare bits at the end do not count.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `SortBy:Reverse:Limit:Offset` as base64url without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagingToken {
    /// Name of the order; may be empty.
    pub sort_by: String,
    /// Newest first.
    pub reverse: bool,
    /// Size of the page; 0 when none was asked for.
    pub limit: u32,
    /// Position of the next item.
    pub offset: u32,
}

impl PagingToken {
    /// As text.
    pub fn encode(&self) -> String {
        let reverse = if self.reverse { 'Y' } else { 'N' };
        BASE64.encode(format!("{}:{reverse}:{}:{}", self.sort_by, self.limit, self.offset))
    }

    /// From text.
    ///
    /// # Errors
    /// What is wrong with it, in Bacalhau 1.9's words.
    pub fn decode(text: &str) -> Result<PagingToken, String> {
        let wrong = |what: &str| format!("{what}: invalid paging token: {text}");
        let bytes = BASE64.decode(text).map_err(|_| wrong("failed to decode paging token"))?;
        let plain = String::from_utf8_lossy(&bytes);
        let parts: Vec<&str> = plain.split(':').collect();
        let [sort_by, reverse, limit, offset] = parts.as_slice() else {
            return Err(wrong("invalid number of parts"));
        };
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| wrong("malformed token"));
        Ok(PagingToken {
            sort_by: (*sort_by).to_owned(),
            reverse: *reverse == "Y",
            limit: number(limit)?,
            offset: number(offset)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_name_the_token() {
        let why = |text: &str| PagingToken::decode(text).unwrap_err();
        // Recorded from Bacalhau 1.9: three characters leave spare bits, which its decoder ignores.
        assert_eq!(why("zzz"), "invalid number of parts: invalid paging token: zzz");
        assert_eq!(why("!"), "failed to decode paging token: invalid paging token: !");
        assert_eq!(why("OjpYOlg"), "malformed token: invalid paging token: OjpYOlg");
    }

    #[test]
    fn the_known_examples() {
        let token = |sort_by: &str, reverse, limit, offset| PagingToken {
            sort_by: sort_by.into(),
            reverse,
            limit,
            offset,
        };
        for (known, text) in [
            (token("created_at", true, 5, 5), "Y3JlYXRlZF9hdDpZOjU6NQ"),
            (token("", true, 10, 10), "Olk6MTA6MTA"),
            (token("", false, 0, 101), "Ok46MDoxMDE"),
        ] {
            assert_eq!(known.encode(), text);
            assert_eq!(PagingToken::decode(text), Ok(known));
        }
    }

    proptest! {
        #[test]
        fn tokens_come_back(sort_by in "[a-z_]{0,12}", reverse: bool, limit: u32, offset: u32) {
            let token = PagingToken { sort_by, reverse, limit, offset };
            prop_assert_eq!(PagingToken::decode(&token.encode()), Ok(token));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = PagingToken::decode(&text);
        }
    }
}
