//! Splits a template into text and actions, and actions into tokens.

/// A piece of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.` alone.
    Dot,
    /// `.a` or `.a.b`.
    Field(Vec<String>),
    /// `$x`, `$x.a`, `$`.
    Variable(String, Vec<String>),
    /// A word: keyword or function.
    Word(String),
    /// `"text"` or `` `text` ``.
    Text(String),
    /// `3`, `'a'`.
    Int(i64),
    /// `1.5`.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Copied as it is.
    Text(String),
    /// What stands between `{{` and `}}`, and the line where it starts.
    Action(Vec<Token>, usize),
}

/// Splits a template.
pub(super) fn split(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut line = 1;
    let mut trim_next = false;
    while let Some((before, after)) = rest.split_once("{{") {
        line += before.matches('\n').count();
        let trim_before = after.strip_prefix('-').is_some_and(|t| t.starts_with(char::is_whitespace));
        let inner = if trim_before { after.get(1..).unwrap_or_default() } else { after };
        push_text(&mut pieces, before, trim_next, trim_before);
        let inner = inner.trim_start();
        let (tokens, tail) = if let Some(comment) = inner.strip_prefix("/*") {
            let (_, tail) =
                comment.split_once("*/").ok_or_else(|| format!("line {line}: unclosed comment"))?;
            (None, tail)
        } else {
            let (tokens, tail) = tokens(inner).map_err(|e| format!("line {line}: {e}"))?;
            (Some(tokens), tail)
        };
        let tail = tail.trim_start();
        trim_next = tail.starts_with('-');
        let tail = tail.strip_prefix('-').unwrap_or(tail);
        let after = tail.strip_prefix("}}").ok_or_else(|| format!("line {line}: unclosed action"))?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens, line));
        }
        let used = rest.len() - before.len() - after.len();
        let action = rest.get(before.len()..before.len() + used).unwrap_or_default();
        line += action.matches('\n').count();
        rest = after;
    }
    push_text(&mut pieces, rest, trim_next, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Tokens up to the end of the action; the end itself is left.
fn tokens(mut rest: &str) -> Result<(Vec<Token>, &str), String> {
    let mut tokens = Vec::new();
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
        if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
            return Ok((tokens, rest));
        }
        let (token, tail) = token(first, rest)?;
        tokens.push(token);
        rest = tail;
    }
}

fn token(first: char, rest: &str) -> Result<(Token, &str), String> {
    let simple = [
        ("|", Token::Pipe),
        ("(", Token::Open),
        (")", Token::Close),
        (":=", Token::Declare),
        ("=", Token::Assign),
        (",", Token::Comma),
    ];
    for (text, token) in simple {
        if let Some(tail) = rest.strip_prefix(text) {
            return Ok((token, tail));
        }
    }
    match first {
        '"' => quoted(rest),
        '`' => {
            let body = rest.get(1..).unwrap_or_default();
            let (text, tail) = body.split_once('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Text(text.to_owned()), tail))
        }
        '\'' => {
            let body = rest.get(1..).unwrap_or_default();
            let (text, tail) = body.split_once('\'').ok_or("unterminated character constant")?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok((Token::Int(i64::from(u32::from(c))), tail)),
                _ => Err(format!("bad character constant '{text}'")),
            }
        }
        '.' if !rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => {
            let (fields, tail) = fields(rest);
            match fields.is_empty() {
                true => Ok((Token::Dot, rest.get(1..).unwrap_or_default())),
                false => Ok((Token::Field(fields), tail)),
            }
        }
        '$' => {
            let (name, tail) = word(rest.get(1..).unwrap_or_default());
            let (fields, tail) = fields(tail);
            Ok((Token::Variable(format!("${name}"), fields), tail))
        }
        c if c.is_ascii_digit() || c == '-' || c == '+' || c == '.' => number(rest),
        c if is_word(c) => {
            let (name, tail) = word(rest);
            Ok((Token::Word(name.to_owned()), tail))
        }
        other => Err(format!("unexpected {other:?} in action")),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()))
}

/// `.a.b` as names; stops where no name follows a dot.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut names = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, tail) = word(after);
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
        text = tail;
    }
    (names, text)
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || (*at == 0 && matches!(c, '+' | '-')))
        })
        .map_or(text.len(), |(at, _)| at);
    let (digits, tail) = text.split_at(end);
    let clean = digits.replace('_', "");
    let hex = clean.strip_prefix("0x").or_else(|| clean.strip_prefix("0X"));
    let int = match hex {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => clean.parse().ok(),
    };
    match (int, clean.parse::<f64>()) {
        (Some(int), _) => Ok((Token::Int(int), tail)),
        (None, Ok(float)) if float.is_finite() => Ok((Token::Float(float), tail)),
        _ => Err(format!("bad number syntax: {digits:?}")),
    }
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), text.get(at + 1..).unwrap_or_default())),
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, c @ ('"' | '\\'))) => out.push(c),
                Some((_, other)) => return Err(format!("unknown escape \\{other} in a quoted string")),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}
