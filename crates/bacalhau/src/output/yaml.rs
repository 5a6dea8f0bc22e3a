//! YAML as Go's library prints it: keys sorted, two spaces, lists at the level of their key, text quoted only where
//! it would otherwise be read as something else.

use serde_json::Value;

/// The document as text, with a final line end.
pub(crate) fn to_text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0),
        other => {
            write_scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n(' ', level));
}

fn write_map(out: &mut String, map: &serde_json::Map<String, Value>, level: usize) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    for (at, key) in keys.into_iter().enumerate() {
        if at > 0 {
            indent(out, level);
        }
        out.push_str(&scalar_text(key, level));
        out.push(':');
        match map.get(key) {
            Some(Value::Object(inner)) if !inner.is_empty() => {
                out.push('\n');
                indent(out, level + 2);
                write_map(out, inner, level + 2);
            }
            Some(Value::Array(items)) if !items.is_empty() => {
                out.push('\n');
                indent(out, level);
                write_list(out, items, level);
            }
            Some(scalar) => {
                out.push(' ');
                write_scalar(out, scalar, level);
                out.push('\n');
            }
            None => out.push('\n'),
        }
    }
}

fn write_list(out: &mut String, items: &[Value], level: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, level + 2),
            Value::Array(inner) if !inner.is_empty() => write_list(out, inner, level + 2),
            scalar => {
                write_scalar(out, scalar, level);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(_) => out.push_str(&bacalhau_model::json::to_string(value).unwrap_or_default()),
        Value::String(text) => out.push_str(&value_text(text, level)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// A value: text of several lines becomes a literal block where that is possible.
fn value_text(text: &str, level: usize) -> String {
    let block = text.contains('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || !(c.is_control() || is_odd(c)))
        && !text.starts_with([' ', '\n', '\t'])
        && text.lines().all(|line| !line.ends_with([' ', '\t']));
    if !block {
        return scalar_text(text, level);
    }
    let body = text.trim_end_matches('\n');
    let trailing = text.len() - body.len();
    if body.is_empty() {
        return quoted(text);
    }
    let mut out = String::from(match trailing {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(&mut out, level + 2);
            out.push_str(line);
        }
    }
    // The line end after the block belongs to it; further ones are kept by `+`.
    out.extend(std::iter::repeat_n('\n', trailing.saturating_sub(1)));
    out
}

/// Byte order mark, line and paragraph separators and non-characters, which must be escaped.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{fffe}' | '\u{ffff}')
}

/// A key or a value on one line.
fn scalar_text(text: &str, _level: usize) -> String {
    if text.chars().any(|c| c.is_control() || is_odd(c)) {
        return quoted(text);
    }
    if is_plain(text) {
        return text.to_owned();
    }
    if would_be_read_as_other_type(text) {
        return quoted(text);
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// JSON text is valid YAML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_odd(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let (Some(first), Some(last)) = (chars.next(), text.chars().next_back()) else { return false };
    let second = chars.next();
    let starts_badly = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' ' || ",[]{}".contains(c)),
        _ => ",[]{}#&*!|>'\"%@`".contains(first) || first.is_whitespace(),
    };
    !(starts_badly
        || last.is_whitespace()
        || last == ':'
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("...")
        || would_be_read_as_other_type(text))
}

/// Words and numbers of YAML 1.1 and 1.2, generously: quoting too much does no harm.
fn would_be_read_as_other_type(text: &str) -> bool {
    const WORDS: [&str; 12] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<"];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let unsigned = lower.trim_start_matches(['+', '-']);
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    if matches!(digits, "inf" | "nan") {
        return true;
    }
    // Numbers, dates and base-60 numbers start with a digit and have only these characters.
    digits.starts_with(|c: char| c.is_ascii_digit())
        && match digits.strip_prefix("0x") {
            Some(hex) => hex.chars().all(|c| c.is_ascii_hexdigit() || c == '_'),
            None => digits.chars().all(|c| c.is_ascii_digit() || "_.:+-eobtz ".contains(c)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn looks_like_the_original() {
        let job = json!({
            "Constraints": null, "Count": 1, "ID": "", "Labels": {},
            "State": {"StateType": "Undefined"},
            "Tasks": [{"Engine": {"Params": {"Image": "ubuntu:latest", "Parameters": ["echo", "hello"]}, "Type": "docker"}, "Name": "main"}],
        });
        let expected = "Constraints: null\nCount: 1\nID: \"\"\nLabels: {}\nState:\n  StateType: Undefined\nTasks:\n- Engine:\n    Params:\n      Image: ubuntu:latest\n      Parameters:\n      - echo\n      - hello\n    Type: docker\n  Name: main\n";
        assert_eq!(to_text(&job), expected);
        assert_eq!(
            to_text(&json!("96cea188-6b77-471e-ac10-c2123c213800")),
            "96cea188-6b77-471e-ac10-c2123c213800\n"
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let words = [
            "",
            " ",
            "a",
            "true",
            "No",
            "1",
            "-1.5e3",
            "0x1F",
            "1_000",
            "2026-01-02",
            "12:30:45",
            "~",
            "null",
            "- a",
            "-a",
            "a: b",
            "a #b",
            "a:b",
            "#x",
            "'",
            "\"",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            "\n",
            "\n\n",
            " a\nb",
            "a \nb",
            "\t",
            "a\tb",
            "é",
            "\u{2028}",
            "\u{feff}x",
            "\u{7f}",
            "---",
            "...",
            "%x",
            "@x",
            "`x",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "?",
            "? a",
            ":",
            "a:",
            "<<",
            "=",
            "$x",
            ".inf",
            ".5",
            "0o7",
            "1e3",
            "\u{0}",
            "a\r\nb",
            "x\n y\n  z\n",
            "#!/bin/sh\necho 'x'\n",
            "10.0.0.1",
            "1,2",
            "a, b",
            "日本",
            "😀",
        ];
        let document = json!({
            "list": words.as_slice(), "nested": [[1, [2.5, "x"]], [], {}, [{"a": [], "b": {"c": null}}]],
            "map": words.iter().map(|w| ((*w).to_owned(), json!(w))).collect::<serde_json::Map<_, _>>(),
            "numbers": [0, -1, 1.5, 1e21, 18446744073709551615u64, true, false, null],
        });
        let text = to_text(&document);
        let back: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(back, document, "\n{text}");
    }
}
