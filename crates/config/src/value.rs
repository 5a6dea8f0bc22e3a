//! Values of keys: read from text or from a file, checked against the key's type.

use crate::duration;
use crate::keys::{Key, Kind};
use crate::secret::mask_text;
use crate::structured;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

/// A value of the right type for its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, also of a locality.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Duration.
    Duration(Duration),
    /// Texts.
    List(Vec<String>),
    /// Texts by name, names as written.
    Map(BTreeMap<String, String>),
    /// Anything a file can hold.
    Json(Json),
}

impl Value {
    /// The zero value of a type.
    pub fn zero(kind: Kind) -> Value {
        match kind {
            Kind::Text | Kind::Locality => Value::Text(String::new()),
            Kind::Bool => Value::Bool(false),
            Kind::Int | Kind::Uint => Value::Int(0),
            Kind::Duration => Value::Duration(Duration::ZERO),
            Kind::List => Value::List(Vec::new()),
            Kind::Map => Value::Map(BTreeMap::new()),
            Kind::Json => Value::Json(Json::Null),
        }
    }

    /// From text of the command line, the environment or the table of defaults.
    ///
    /// # Errors
    /// What was expected, in Bacalhau 1.9's words.
    pub fn from_text(key: &Key, text: &str) -> Result<Value, String> {
        let shown = mask_text(key, text);
        let of_key = |error: String| format!("config key: \"{}\": {error}", key.path);
        let expects =
            |what: &str| format!("config key: \"{}\" expects {what}, received: {shown:?}", key.path);
        match key.kind {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Bool => go_bool(text).map(Value::Bool).ok_or_else(|| expects("a boolean value")),
            Kind::Int => text.parse().map(Value::Int).map_err(|_| expects("an integer value")),
            Kind::Uint => match text.parse::<u32>() {
                Ok(number) => Ok(Value::Int(i64::from(number))),
                Err(_) => Err(expects("a positive integer value")),
            },
            Kind::Duration => duration::parse(text).map(Value::Duration).ok_or_else(|| {
                format!("{}; write it like 30s, 5m or 1h30m", expects("a valid duration value"))
            }),
            Kind::List => list(text, &shown).map(Value::List).map_err(of_key),
            Kind::Map => map(text).map(Value::Map).map_err(of_key),
            Kind::Locality => locality(text).map(Value::Text).ok_or_else(|| expects("anywhere or local")),
            Kind::Json => Err(format!("config key: \"{}\" can only be set in a file", key.path)),
        }
    }

    /// From a file. `None` for null, which leaves the key unset.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn from_json(key: &Key, json: &Json) -> Result<Option<Value>, String> {
        let wrong = |what: &str| Err(format!("expects {what}, found {}", describe(json)));
        let scalar = match json {
            Json::Null => return Ok(None),
            Json::String(text) => Some(text.clone()),
            Json::Bool(_) | Json::Number(_) => Some(json.to_string()),
            _ => None,
        };
        Ok(Some(match (key.kind, json) {
            (Kind::Json, _) => Value::Json(structured::read(key.path, json)?),
            (Kind::List, Json::Array(items)) => {
                let texts: Option<Vec<String>> = items.iter().map(plain).collect();
                match texts {
                    Some(texts) => Value::List(texts),
                    None => return wrong("a list of texts"),
                }
            }
            (Kind::Map, Json::Object(entries)) => {
                let texts: Option<BTreeMap<String, String>> =
                    entries.iter().map(|(k, v)| plain(v).map(|v| (k.clone(), v))).collect();
                match texts {
                    Some(texts) => Value::Map(texts),
                    None => return wrong("texts by name"),
                }
            }
            (Kind::List, _) if scalar.is_none() => return wrong("a list of texts"),
            (Kind::Map, _) if scalar.is_none() => return wrong("texts by name"),
            _ => match scalar {
                Some(text) => match (key.kind, yaml_bool(&text)) {
                    (Kind::Bool, Some(yes)) => Value::Bool(yes),
                    _ => Value::from_text(key, &text)?,
                },
                None => return wrong("a single value"),
            },
        }))
    }

    /// As text for `config list`, in the form of Go's `%v`.
    pub fn display(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Bool(yes) => yes.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Duration(duration) => duration::format(*duration),
            Value::List(items) => format!("[{}]", items.join(" ")),
            Value::Map(entries) => {
                let pairs: Vec<String> = entries.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Value::Json(json) if json.is_null() => String::new(),
            Value::Json(json) => json.to_string(),
        }
    }

    /// As a document; `None` for the zero value, which is left out.
    pub fn to_json(&self) -> Option<Json> {
        match self {
            Value::Text(text) => (!text.is_empty()).then(|| Json::from(text.clone())),
            Value::Bool(yes) => yes.then(|| Json::from(true)),
            Value::Int(number) => (*number != 0).then(|| Json::from(*number)),
            Value::Duration(d) => (!d.is_zero()).then(|| Json::from(duration::format(*d))),
            Value::List(items) => (!items.is_empty()).then(|| Json::from(items.clone())),
            Value::Map(entries) => {
                let object: serde_json::Map<String, Json> =
                    entries.iter().map(|(k, v)| (k.clone(), Json::from(v.clone()))).collect();
                (!object.is_empty()).then_some(Json::Object(object))
            }
            Value::Json(json) => (!json.is_null()).then(|| json.clone()),
        }
    }
}

fn plain(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(json.to_string()),
        _ => None,
    }
}

/// What a value is, for errors that must not show it.
pub(crate) fn describe(json: &Json) -> &'static str {
    match json {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a section",
    }
}

/// Go's spellings of booleans.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Words for booleans that files have besides Go's.
fn yaml_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" => Some(true),
        "no" | "off" => Some(false),
        _ => None,
    }
}

/// `0` and `1` are what Bacalhau 1.9 wanted on the command line.
fn locality(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "anywhere" | "1" => Some("anywhere".to_owned()),
        "local" | "0" => Some("local".to_owned()),
        _ => None,
    }
}

/// `shown` is the text as errors may quote it.
fn list(text: &str, shown: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.contains(';') || text.trim().contains(' ') && !text.contains(',') {
        return Err(format!("invalid separator in string slice '{shown}', only comma (,) is allowed"));
    }
    let mut items = Vec::new();
    for (position, item) in text.split(',').enumerate() {
        if item.trim().is_empty() {
            return Err(format!("empty token found at position {position} in string slice '{shown}'"));
        }
        items.push(item.trim().to_owned());
    }
    Ok(items)
}

fn map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut entries = BTreeMap::new();
    for pair in text.split(',').filter(|_| !text.is_empty()) {
        let wrong = |why: &str| Err(format!("invalid format [{text}]: {why} in '{pair}'"));
        match pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            None => return wrong("expected 'key=value', but found no '='"),
            Some((_, value)) if value.contains('=') => {
                return wrong("expected 'key=value', but found multiple '='");
            }
            Some(("", _)) => return wrong("missing key before '='"),
            Some((_, "")) => return wrong("missing value after '='"),
            Some((key, value)) => entries.insert(key.to_owned(), value.to_owned()),
        };
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::find;
    use serde_json::json;

    fn text(path: &str, text: &str) -> Result<Value, String> {
        Value::from_text(find(path).unwrap(), text)
    }

    #[test]
    fn from_text() {
        assert_eq!(text("API.Port", "80"), Ok(Value::Int(80)));
        assert_eq!(text("WebUI.Enabled", "T"), Ok(Value::Bool(true)));
        assert_eq!(text("Compute.Orchestrators", "a, b"), Ok(Value::List(vec!["a".into(), "b".into()])));
        assert_eq!(text("Labels", "a=b,c=d").unwrap().display(), "map[a:b c:d]");
        assert_eq!(text("JobAdmissionControl.Locality", "0").unwrap().display(), "local");
        for (path, value, says) in [
            ("API.Port", "x", "config key: \"API.Port\" expects an integer value, received: \"x\""),
            ("WebUI.Enabled", "yes", "expects a boolean value"),
            ("Compute.Heartbeat.Interval", "5", "expects a valid duration value"),
            ("Engines.Types.Docker.ManifestCache.Size", "-1", "expects a positive integer value"),
            ("Engines.Disabled", "a;b", "invalid separator in string slice 'a;b', only comma (,) is allowed"),
            ("Engines.Disabled", "a,,b", "empty token found at position 1 in string slice 'a,,b'"),
            ("Labels", "a", "found no '='"),
            ("Labels", "a=b=c", "found multiple '='"),
            ("Labels", "=b", "missing key"),
            ("Labels", " =b", "missing key"),
            ("Labels", "a= ", "missing value"),
            ("Labels", "a=", "missing value"),
            ("API.Auth.Users", "x", "can only be set in a file"),
            ("JobAdmissionControl.Locality", "x", "expects anywhere or local"),
        ] {
            let error = text(path, value).unwrap_err();
            assert!(error.contains(says) && error.contains(path), "{error}");
        }
        for value in ["hush@a;b", "hush@a,,b", "hush@a b"] {
            let error = text("Compute.Orchestrators", value).unwrap_err();
            assert!(error.contains("'********'") && !error.contains("hush"), "{error}");
        }
        assert_eq!(text("Labels", "").unwrap().display(), "map[]");
        assert_eq!(text("Compute.Orchestrators", "").unwrap().display(), "[]");
    }

    #[test]
    fn from_files() {
        let json = |path: &str, json: Json| Value::from_json(find(path).unwrap(), &json);
        assert_eq!(json("API.Port", json!(80)), Ok(Some(Value::Int(80))));
        assert_eq!(json("API.Port", json!(null)), Ok(None));
        assert_eq!(json("WebUI.Enabled", json!("Yes")), Ok(Some(Value::Bool(true))));
        assert_eq!(json("WebUI.Enabled", json!("off")), Ok(Some(Value::Bool(false))));
        assert_eq!(json("API.Host", json!("yes")), Ok(Some(Value::Text("yes".into()))));
        assert!(json("API.Auth.Users", json!("x")).unwrap_err().contains("expects a list, found a text"));
        assert_eq!(json("Labels", json!({"Region": "x"})).unwrap().unwrap().display(), "map[Region:x]");
        assert_eq!(json("Compute.Orchestrators", json!(["a"])), Ok(Some(Value::List(vec!["a".into()]))));
        assert!(json("API.Port", json!([1])).unwrap_err().contains("expects a single value, found a list"));
        assert!(json("Labels", json!([1])).unwrap_err().contains("expects texts by name, found a list"));
        assert!(json("API.Port", json!("x")).unwrap_err().contains("an integer value"));
    }
}
