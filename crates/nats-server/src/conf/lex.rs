//! The text of a configuration file as tokens. What a character means depends on where it stands (a key ends at a colon,
//! a value does not), so the parser asks for the kind of token that can come next.
//!
//! Errors never quote the text: a password with a stray quote in it must not end up in a log.

use super::number;
use super::value::Value;

/// Where a token begins: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Text that breaks the rules.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) spot: Spot,
    pub(super) problem: String,
}

/// What surrounds the fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The file itself, with or without braces around all of it.
    File,
    /// `{ ... }`
    Map,
}

/// What begins where a field can.
pub(super) enum Key {
    Name(String),
    /// `include 'path'`
    Include(String),
    /// The end of the map or file.
    End,
}

/// What begins where a value must.
pub(super) enum Start {
    Map,
    List,
    Value(Value),
    /// `$NAME`
    Variable(String),
}

/// Reads tokens from the front of a text.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    spot: Spot,
    /// The `{` around the whole file.
    brace: Option<Spot>,
    had_brace: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, spot: Spot { line: 1, column: 1 }, brace: None, had_brace: false }
    }

    /// Where the next token begins, if no blanks come before it.
    pub(super) fn spot(&self) -> Spot {
        self.spot
    }

    /// The next field's key, or the end.
    pub(super) fn key(&mut self, scope: Scope) -> Result<(Spot, Key), LexError> {
        loop {
            self.skip_blanks_and_comments();
            let spot = self.spot;
            match (self.peek(), scope) {
                (None, Scope::File) => {
                    return match self.brace {
                        Some(spot) => Err(error(spot, "this \"{\" has no \"}\"")),
                        None => Ok((spot, Key::End)),
                    };
                }
                (None, Scope::Map) => {
                    return Err(error(spot, "the file ends inside a map; \"}\" is missing"));
                }
                (Some('}'), Scope::Map) => {
                    self.bump();
                    return Ok((spot, Key::End));
                }
                // One brace too many at the end of a file is accepted, as other servers do.
                (Some('}'), Scope::File) => {
                    self.bump();
                    self.brace = None;
                }
                (Some('{'), Scope::File) if !self.had_brace => {
                    self.bump();
                    self.brace = Some(spot);
                    self.had_brace = true;
                }
                (Some(quote @ ('"' | '\'')), _) => {
                    self.bump();
                    let name = self.until_quote(quote, spot)?;
                    return self.separator(scope).map(|()| (spot, Key::Name(name)));
                }
                (Some(_), _) => return self.bare_key(scope, spot),
            }
        }
    }

    fn bare_key(&mut self, scope: Scope, spot: Spot) -> Result<(Spot, Key), LexError> {
        let is_end =
            |c: char| c.is_whitespace() || matches!(c, ':' | '=' | '{' | '}' | '[' | ']' | ',' | ';' | '\0');
        let name = self.take_until(is_end).to_owned();
        if name.is_empty() {
            return Err(error(spot, format!("expected a key, found {}", self.describe_next())));
        }
        if name.eq_ignore_ascii_case("include") && self.peek().is_some_and(char::is_whitespace) {
            return Ok((spot, Key::Include(self.path()?)));
        }
        self.separator(scope)?;
        Ok((spot, Key::Name(name)))
    }

    /// The path after `include`.
    fn path(&mut self) -> Result<String, LexError> {
        self.take_until(|c| c != ' ' && c != '\t');
        let spot = self.spot;
        let path = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.bump();
                self.until_quote(quote, spot)?
            }
            _ => self.take_until(|c| c.is_whitespace() || matches!(c, ';' | '}' | '\0')).to_owned(),
        };
        if path.is_empty() {
            return Err(error(spot, "expected the path of a file after include"));
        }
        Ok(path)
    }

    /// What may stand between a key and its value.
    fn separator(&mut self, scope: Scope) -> Result<(), LexError> {
        self.take_until(|c| !c.is_whitespace());
        if matches!(self.peek(), Some(':' | '=')) {
            self.bump();
            match scope {
                Scope::Map => self.take_until(|c| !c.is_whitespace()),
                Scope::File => self.take_until(|c| c != ' ' && c != '\t'),
            };
            if matches!(self.peek(), Some('\n' | '\r')) {
                return Err(error(self.spot, "expected a value but found a new line"));
            }
        }
        Ok(())
    }

    /// The value that must come here, or its beginning.
    pub(super) fn value(&mut self) -> Result<(Spot, Start), LexError> {
        let spot = self.spot;
        let start = match self.peek() {
            Some('{') => {
                self.bump();
                Start::Map
            }
            Some('[') => {
                self.bump();
                Start::List
            }
            Some('\'') => {
                self.bump();
                Start::Value(Value::Text(self.until_quote('\'', spot)?))
            }
            Some('"') => {
                self.bump();
                let text = self.escaped(|c| c == '"', true)?.0;
                if self.bump() != Some('"') {
                    return Err(error(spot, "this quote is never closed"));
                }
                Start::Value(Value::Text(text))
            }
            Some('(') => {
                self.bump();
                Start::Value(Value::Text(self.block(spot)?))
            }
            _ => self.word(spot)?,
        };
        Ok((spot, start))
    }

    /// A value without quotes.
    fn word(&mut self, spot: Spot) -> Result<Start, LexError> {
        let is_end = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n' | ';' | ',' | ']' | '}' | '\'' | '\0');
        let (text, had_escapes) = self.escaped(is_end, false)?;
        if self.peek() == Some('\'') {
            return Err(error(
                self.spot,
                "a quote inside of a value; put all of the value into double quotes",
            ));
        }
        if had_escapes {
            return Ok(Start::Value(Value::Text(text)));
        }
        if text.is_empty() {
            return Err(error(spot, format!("expected a value, found {}", self.describe_next())));
        }
        // Hashes of passwords begin like variables.
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return Ok(Start::Value(Value::Text(text)));
        }
        match text.strip_prefix('$') {
            Some("") => Err(error(spot, "expected the name of a variable after \"$\"")),
            Some(name) => Ok(Start::Variable(name.to_owned())),
            None => number::word(&text).map(Start::Value).map_err(|problem| error(spot, problem)),
        }
    }

    /// After a field: does the map or file end here?
    pub(super) fn end_of_field(&mut self, scope: Scope) -> Result<bool, LexError> {
        self.skip_spaces();
        match self.peek() {
            None if scope == Scope::File => Ok(false),
            None => Err(error(self.spot, "the file ends inside a map; \"}\" is missing")),
            // `key` takes the closing brace of a file, and comments.
            Some('}') if scope == Scope::File => Ok(false),
            Some('}') => {
                self.bump();
                Ok(true)
            }
            Some(',' | ';' | '\n' | '\r') => {
                self.bump();
                Ok(false)
            }
            Some(_) if self.at_comment() => Ok(false),
            Some(_) => Err(error(
                self.spot,
                format!(
                    "expected the value to end here (new line, comma or comment), found {}",
                    self.describe_next()
                ),
            )),
        }
    }

    /// In a list: is there a value, or does it end?
    pub(super) fn item(&mut self) -> Result<bool, LexError> {
        self.skip_blanks_and_comments();
        match self.peek() {
            Some(']') => {
                self.bump();
                Ok(false)
            }
            None => Err(error(self.spot, "the file ends inside a list; \"]\" is missing")),
            Some(_) => Ok(true),
        }
    }

    /// After a value of a list: may another come?
    pub(super) fn end_of_item(&mut self) -> Result<(), LexError> {
        self.skip_spaces();
        match self.peek() {
            Some(',' | '\n' | '\r') => {
                self.bump();
                Ok(())
            }
            // `item` sees these.
            Some(']') | None => Ok(()),
            Some(_) if self.at_comment() => {
                // The next value may come after the comment's line, or a comma.
                self.skip_blanks_and_comments();
                if self.peek() == Some(',') {
                    self.bump();
                }
                Ok(())
            }
            Some(_) => Err(error(
                self.spot,
                format!("expected \",\" or \"]\" in a list, found {}", self.describe_next()),
            )),
        }
    }

    /// Is there nothing more?
    pub(super) fn is_done(&mut self) -> bool {
        self.skip_blanks_and_comments();
        self.rest.is_empty()
    }

    /// Text up to a quote, which is taken too. Nothing in it is special.
    fn until_quote(&mut self, quote: char, open: Spot) -> Result<String, LexError> {
        let text = self.take_until(|c| c == quote).to_owned();
        match self.bump() {
            Some(_) => Ok(text),
            None => Err(error(open, "this quote is never closed")),
        }
    }

    /// Text with escapes, and whether there were any.
    fn escaped(&mut self, is_end: impl Fn(char) -> bool, lines: bool) -> Result<(String, bool), LexError> {
        let mut bytes = Vec::new();
        let (start, mut had_escapes) = (self.spot, false);
        loop {
            let part = self.take_until(|c| c == '\\' || is_end(c));
            bytes.extend_from_slice(part.as_bytes());
            if self.peek() != Some('\\') {
                break;
            }
            had_escapes = true;
            let spot = self.spot;
            self.bump();
            let byte = match self.bump() {
                Some('t') => b'\t',
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('"') => b'"',
                Some('\\') => b'\\',
                Some('x') => self.hex_byte(spot)?,
                _ if lines => {
                    return Err(error(
                        spot,
                        "unknown escape; there are \\xXX, \\t, \\n, \\r, \\\" and \\\\ (or use single quotes)",
                    ));
                }
                _ => {
                    return Err(error(
                        spot,
                        "unknown escape; put values with backslashes into single quotes",
                    ));
                }
            };
            bytes.push(byte);
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| error(start, "the escapes make a text that is not UTF-8"))?;
        Ok((text, had_escapes))
    }

    fn hex_byte(&mut self, spot: Spot) -> Result<u8, LexError> {
        let mut value = 0;
        for _ in 0..2 {
            let digit = self.peek().and_then(|c| c.to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
            value =
                value * 16 + digit.ok_or_else(|| error(spot, "expected two hexadecimal digits after \\x"))?;
            self.bump();
        }
        Ok(value)
    }

    /// Text up to a line with nothing but `)`.
    fn block(&mut self, open: Spot) -> Result<String, LexError> {
        let mut text = String::new();
        loop {
            let line = self.take_until(|c| c == '\n');
            if text.ends_with('\n') && line.trim_end_matches('\r') == ")" {
                return Ok(text);
            }
            text.push_str(line);
            if self.bump().is_none() {
                return Err(error(open, "this block is never closed; it ends with \")\" alone on a line"));
            }
            text.push('\n');
        }
    }

    fn skip_spaces(&mut self) {
        self.take_until(|c| c != ' ' && c != '\t');
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.take_until(|c| !c.is_whitespace());
            if !self.at_comment() {
                return;
            }
            self.take_until(|c| c == '\n' || c == '\r');
        }
    }

    fn at_comment(&self) -> bool {
        self.rest.starts_with('#') || self.rest.starts_with("//")
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// What stands here, for an error: only signs that structure the file.
    fn describe_next(&self) -> String {
        match self.peek() {
            None => "the end of the file".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(sign @ (':' | '=' | '{' | '}' | '[' | ']' | ',' | ';' | '(' | ')')) => format!("\"{sign}\""),
            Some('\0') => "a zero byte".to_owned(),
            Some(_) => "something else".to_owned(),
        }
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        self.advance(next);
        Some(next)
    }

    /// Takes all characters before the first that ends it.
    fn take_until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.chars().for_each(|c| self.advance(c));
        taken
    }

    fn advance(&mut self, c: char) {
        if c == '\n' {
            self.spot = Spot { line: self.spot.line.saturating_add(1), column: 1 };
        } else {
            self.spot.column = self.spot.column.saturating_add(1);
        }
    }
}

fn error(spot: Spot, problem: impl Into<String>) -> LexError {
    LexError { spot, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> Option<String> {
        match Lexer::new(source).value() {
            Ok((_, Start::Value(Value::Text(text)))) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn values_end_where_they_should() {
        let cases = [
            ("abc def", "abc"),
            ("a#b;c", "a#b"),
            ("a:b=c}", "a:b=c"),
            ("'a\\nb' x", "a\\nb"),
            (r#""a\n\x41\"" x"#, "a\nA\""),
            (r"a\x41b", "aAb"),
            (r"\$x", ""),
            ("(a\n b)\n)\nx", "a\n b)\n"),
            ("(\r\na\r\n)\r\n", "\r\na\r\n"),
            ("$2b$10$abc", "$2b$10$abc"),
            (
                r#""a
b""#, "a\nb",
            ),
        ];
        for (source, expected) in cases {
            let expected = (!expected.is_empty()).then(|| expected.to_owned());
            assert_eq!(text(source), expected, "{source}");
        }
        assert!(matches!(Lexer::new("$ABC,").value(), Ok((_, Start::Variable(name))) if name == "ABC"));
    }

    #[test]
    fn places_are_counted() {
        let mut lexer = Lexer::new("a: é b\n  c = 1");
        let (spot, _) = lexer.key(Scope::File).unwrap();
        assert_eq!(spot, Spot { line: 1, column: 1 });
        assert_eq!(lexer.value().unwrap().0, Spot { line: 1, column: 4 });
        assert_eq!(lexer.end_of_field(Scope::File).unwrap_err().spot, Spot { line: 1, column: 6 });
        let mut lexer = Lexer::new("a: é\n  c = 1");
        lexer.key(Scope::File).unwrap();
        lexer.value().unwrap();
        assert!(!lexer.end_of_field(Scope::File).unwrap());
        assert_eq!(lexer.key(Scope::File).unwrap().0, Spot { line: 2, column: 3 });
    }

    #[test]
    fn errors_do_not_quote_the_text() {
        for source in ["'hunter2", "\"hunter2", "hunt'er2", r"hunter2\q", "(hunter2", r#""hunter2\x4""#] {
            let Err(error) = Lexer::new(source).value() else { panic!("{source}") };
            assert!(!error.problem.contains("er2"), "{}", error.problem);
        }
    }
}
