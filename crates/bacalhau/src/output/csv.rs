//! Comma-separated values, RFC 4180: a cell with a quote, comma or line break is quoted and its quotes are doubled.
//!
//! Bacalhau 1.9 escapes with backslashes instead, which no spreadsheet reads; this is a deliberate difference.

/// One record with its line end.
pub(crate) fn record<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (at, text) in cells.into_iter().enumerate() {
        if at > 0 {
            line.push(',');
        }
        line.push_str(&cell(text));
    }
    line.push('\n');
    line
}

fn cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Reads one record, for options that are written as CSV. Quotes inside an unquoted cell are kept.
///
/// # Errors
/// When a quoted cell does not end or something follows its closing quote.
pub(crate) fn parse_record(text: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut cell = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => cell.push('"'),
                    Some('"') => break,
                    Some(c) => cell.push(c),
                    None => return Err(format!("a quote is not closed in {text:?}")),
                }
            }
            if chars.peek().is_some_and(|c| *c != ',') {
                return Err(format!("text follows a closing quote in {text:?}"));
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                cell.push(c);
            }
        }
        cells.push(cell);
        if chars.next().is_none() {
            return Ok(cells);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_must_be_quoted() {
        assert_eq!(record(["a", "b c", ""]), "a,b c,\n");
        assert_eq!(record(["a,b", "say \"x\"", "1\n2"]), "\"a,b\",\"say \"\"x\"\"\",\"1\n2\"\n");
    }

    #[test]
    fn reads_what_it_wrote() {
        for cells in [vec!["a", "b"], vec![""], vec!["a,\"b\"", "", "c\nd"], vec!["é"]] {
            let line = record(cells.iter().copied());
            assert_eq!(parse_record(line.strip_suffix('\n').unwrap()).unwrap(), cells);
        }
        assert!(parse_record("\"open").is_err());
        assert!(parse_record("\"a\"b").is_err());
    }
}
