//! Functions of templates.

use super::value::Value;
use std::cmp::Ordering;

/// All functions.
pub(super) const NAMES: [&str; 16] = [
    "and", "eq", "ge", "gt", "html", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice",
];

/// `urlquery` has company only in the list for people.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name) || name == "urlquery"
}

/// Calls a function. `and` and `or` get all arguments evaluated, which nobody can tell apart here.
pub(super) fn call<'a>(name: &str, args: &[Value<'a>]) -> Result<Value<'a>, String> {
    let wrong = || format!("wrong number of args for {name}: got {}", args.len());
    match (name, args) {
        ("and", [.., last]) => Ok(args.iter().find(|a| !a.is_true()).unwrap_or(last).clone()),
        ("or", [.., last]) => Ok(args.iter().find(|a| a.is_true()).unwrap_or(last).clone()),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut equal = false;
            for other in others {
                equal |= compare(first, other)? == Ordering::Equal;
            }
            Ok(Value::Bool(equal))
        }
        ("ne", [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Equal)),
        ("lt", [a, b]) => Ok(Value::Bool(compare(a, b)? == Ordering::Less)),
        ("le", [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Greater)),
        ("gt", [a, b]) => Ok(Value::Bool(compare(a, b)? == Ordering::Greater)),
        ("ge", [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Less)),
        ("len", [Value::Text(text)]) => Ok(Value::Int(i64::try_from(text.len()).unwrap_or(i64::MAX))),
        ("len", [Value::Map(map)]) => Ok(Value::Int(i64::try_from(map.len()).unwrap_or(i64::MAX))),
        ("len", [other]) => Err(format!("len of {other}: it is neither text nor a map")),
        ("index", [Value::Map(map), Value::Text(key)]) => {
            Ok(Value::Text(map.get(key).cloned().unwrap_or_default()))
        }
        ("index", [_, ..]) => Err("index: only the values as a whole can be indexed, by name".to_owned()),
        ("slice", [Value::Text(text), bounds @ ..]) if bounds.len() <= 2 => slice(text, bounds),
        ("print", _) => Ok(Value::Text(print(args))),
        ("println", _) => {
            let words: Vec<String> = args.iter().map(ToString::to_string).collect();
            Ok(Value::Text(words.join(" ") + "\n"))
        }
        ("printf", [Value::Text(format), rest @ ..]) => printf(format, rest).map(Value::Text),
        ("printf", _) => Err("printf: the first argument must be the format".to_owned()),
        ("html", _) => Ok(Value::Text(html(&print(args)))),
        ("urlquery", _) => {
            Ok(Value::Text(url::form_urlencoded::byte_serialize(print(args).as_bytes()).collect()))
        }
        _ => Err(wrong()),
    }
}

fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        _ => Err(format!(
            "incompatible types for comparison: {a:?} and {b:?} (values given with -V and -E are text: quote the other side)"
        )),
    }
}

/// Go's rule: a space between two operands when neither is text.
fn print(args: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for arg in args {
        let is_text = matches!(arg, Value::Text(_));
        if !after_text && !is_text {
            out.push(' ');
        }
        out.push_str(&arg.to_string());
        after_text = is_text;
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn slice<'a>(text: &str, bounds: &[Value<'_>]) -> Result<Value<'a>, String> {
    let mut at = bounds.iter().map(|bound| match bound {
        Value::Int(number) => {
            usize::try_from(*number).map_err(|_| format!("slice: index out of range: {number}"))
        }
        other => Err(format!("slice: {other} is no index")),
    });
    let from = at.next().transpose()?.unwrap_or(0);
    let to = at.next().transpose()?.unwrap_or(text.len());
    text.get(from..to)
        .map(|part| Value::Text(part.to_owned()))
        .ok_or_else(|| format!("slice: index out of range: {from}:{to}"))
}

/// `%s %d %v %q %t %f %x %%` with flags `0` and `-`, width and precision.
fn printf(format: &str, args: &[Value<'_>]) -> Result<String, String> {
    const MAX_WIDTH: usize = 10_000;
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| "+-0 #".contains(*c)) {
            flags.push(flag);
        }
        let mut spec = String::new();
        while let Some(digit) = chars.next_if(|c| c.is_ascii_digit() || *c == '.') {
            spec.push(digit);
        }
        let (width, precision) = match spec.split_once('.') {
            Some((width, precision)) => (width, Some(precision.parse::<usize>().unwrap_or(0))),
            None => (spec.as_str(), None),
        };
        let width = width.parse::<usize>().unwrap_or(0);
        if width > MAX_WIDTH || precision.is_some_and(|p| p > MAX_WIDTH) {
            return Err("printf: the width is too large".to_owned());
        }
        let verb = chars.next().ok_or("printf: the format ends after %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or_else(|| format!("printf: no argument for %{verb}"))?;
        let text = match (verb, arg) {
            ('v' | 's' | 't', arg) => {
                let text = arg.to_string();
                precision.map_or(text.clone(), |p| text.chars().take(p).collect())
            }
            ('d', Value::Int(number)) => number.to_string(),
            ('q', arg) => format!("{:?}", arg.to_string()),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            ('f', Value::Float(number)) => format!("{number:.*}", precision.unwrap_or(6)),
            (verb, arg) => return Err(format!("printf: %{verb} cannot show {arg}")),
        };
        let fill = width.saturating_sub(text.chars().count());
        match (flags.contains('-'), flags.contains('0'), text.strip_prefix('-')) {
            (true, _, _) => {
                out.push_str(&text);
                out.extend(std::iter::repeat_n(' ', fill));
            }
            (false, true, Some(digits)) => {
                out.push('-');
                out.extend(std::iter::repeat_n('0', fill));
                out.push_str(digits);
            }
            (false, zero, _) => {
                out.extend(std::iter::repeat_n(if zero { '0' } else { ' ' }, fill));
                out.push_str(&text);
            }
        }
    }
    match args.next() {
        Some(extra) => Err(format!("printf: no verb for argument {extra}")),
        None => Ok(out),
    }
}
