//! Paging tokens: opaque to clients, but of the same form as Bacalhau 1.9's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
        URL_SAFE_NO_PAD.encode(format!("{}:{reverse}:{}:{}", self.sort_by, self.limit, self.offset))
    }

    /// From text. The error says what is wrong with it.
    pub fn decode(text: &str) -> Result<PagingToken, String> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| format!("failed to decode paging token: invalid paging token: {text}"))?;
        let plain = String::from_utf8(bytes)
            .map_err(|_| format!("failed to decode paging token: invalid paging token: {text}"))?;
        let parts: Vec<&str> = plain.split(':').collect();
        let [sort_by, reverse, limit, offset] = parts.as_slice() else {
            return Err(format!(
                "failed to decode paging token: invalid number of parts in token: {}",
                parts.len()
            ));
        };
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("failed to decode paging token: malformed token: {plain:?}"))
        };
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
        assert!(PagingToken::decode("!").unwrap_err().contains("invalid paging token: !"));
        assert!(PagingToken::decode("YQ").unwrap_err().contains("number of parts"));
        assert!(PagingToken::decode("OjpYOlg").unwrap_err().contains("malformed token"));
    }
}
