//! `name=value` lists: environment, template variables, labels, and `name:path` outputs.

use crate::output::csv;
use bacalhau_model::ResultPath;
use std::collections::BTreeMap;

/// `K=V[,K=V]`, given several times; CSV quotes protect commas in values.
pub(crate) fn parse_map(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for text in texts {
        // One pair whose value has commas needs no quotes.
        let record = match text.matches('=').count() {
            1 => vec![whole(text).to_owned()],
            _ => csv::parse_record(text)?,
        };
        for pair in record {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
            map.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(map)
}

/// Without the quotes around all of it; quotes inside are the value's own.
fn whole(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// `k=v` or a bare `k`, checked as Kubernetes labels.
pub(crate) fn parse_labels(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in texts.iter().filter(|t| !t.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some(why) = bad_label_key(key).or_else(|| bad_label_value(value)) {
            return Err(format!("received invalid job labels: {pair:?}: {why}"));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// At most 63 of `A-Za-z0-9-_.`, letters or digits at both ends; perhaps a DNS name and a slash before it.
fn bad_label_key(key: &str) -> Option<&'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            let dns = !prefix.is_empty()
                && prefix.len() <= 253
                && prefix.split('.').all(|part| {
                    is_name(part, 63) && !part.contains(['_', '.']) && part == part.to_ascii_lowercase()
                });
            if !dns {
                return Some("the part before the slash must be a DNS name in lower case");
            }
            name
        }
        None => key,
    };
    (!is_name(name, 63))
        .then_some("a key has 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends")
}

fn bad_label_value(value: &str) -> Option<&'static str> {
    (!(value.is_empty() || is_name(value, 63))).then_some(
        "a value has at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends",
    )
}

fn is_name(text: &str, longest: usize) -> bool {
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && text.len() <= longest && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// `name:path`.
pub(crate) fn parse_output(text: &str) -> Result<ResultPath, String> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() && !path.contains(':') => {
            Ok(ResultPath { name: name.to_owned(), path: path.to_owned() })
        }
        _ => Err(format!("invalid output volume: {text} (write it as name:/path)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn maps() {
        let map = parse_map(&texts(&["A=1,B=2", "C=x=y,D=", "\"E=a,b\"", "F=1,2"])).unwrap();
        let shown: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(shown.join(" "), "A:1 B:2 C:x=y D: E:a,b F:1,2");
        assert_eq!(parse_map(&texts(&["FOO"])).unwrap_err(), "FOO must be formatted as key=value");
    }

    #[test]
    fn labels_and_outputs() {
        let labels = parse_labels(&texts(&["a=b", "gpu", "example.com/x=1.2"])).unwrap();
        assert_eq!(labels.len(), 3);
        for bad in ["a b", "=x", "-a=b", "a=b c", "UP.com/x=1", "/x"] {
            assert!(
                parse_labels(&texts(&[bad])).unwrap_err().starts_with("received invalid job labels"),
                "{bad}"
            );
        }
        assert_eq!(parse_output("out:/out").unwrap().path, "/out");
        for bad in ["out", "a:b:c", ":/x", "x:"] {
            assert!(parse_output(bad).unwrap_err().starts_with("invalid output volume"), "{bad}");
        }
    }
}
