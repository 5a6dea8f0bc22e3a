//! Reads a configuration file: YAML into sections, sections into keys. Must never guess at the type of a scalar (a
//! token `1e5` is no number, a label `1.10` no `1.1`) and never show what is in the file: it may hold secrets.

use crate::item::known;
use crate::keys::{self, Key, Kind};
use crate::load::invalid;
use bacalhau_model::Error;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Largest file that is read, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a YAML file of sections. Scalars are texts as they are written there, or null. An empty file has no sections.
pub(crate) fn read(path: &Path) -> Result<Json, Error> {
    let fail = |why: String| invalid(format!("{}: {why}", path.display()));
    let text = read_text(path).map_err(|e| fail(e.to_string()))?;
    parse(&text).map_err(fail)
}

/// The text of a small file.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells a large file from a full one; a pipe has no size to ask for.
    let read = std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        return Err(std::io::Error::other(format!(
            "more than {MOST_BYTES} bytes are too many for a configuration file"
        )));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Json, String> {
    // The parser's own words quote the file.
    let at = |e: serde_saphyr::Error| match e.location() {
        Some(place) => format!("not valid YAML at line {}, column {}", place.line(), place.column()),
        None => "not valid YAML".to_owned(),
    };
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        return Ok(Json::Object(Map::new()));
    }
    let shape: Json = serde_saphyr::from_str(text).map_err(at)?;
    match &shape {
        Json::Null => Ok(Json::Object(Map::new())),
        // Untyped reading loses how a scalar was written; reading again with the shape known asks for texts.
        Json::Object(_) => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
                Exact(&shape).deserialize(yaml)
            })
            .map_err(at)
        }
        _ => Err("expects sections with keys, like `API:` and below it `Port: 1234`".to_owned()),
    }
}

/// Reads a value of a known shape, with every scalar as the text that is written in the file.
struct Exact<'a>(&'a Json);

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<Json, D::Error> {
        match self.0 {
            Json::Null => IgnoredAny::deserialize(yaml).map(|_| Json::Null),
            Json::Object(shape) => yaml.deserialize_map(Section(shape)),
            Json::Array(shape) => yaml.deserialize_seq(Items(shape)),
            Json::Bool(_) | Json::Number(_) | Json::String(_) => String::deserialize(yaml).map(Json::String),
        }
    }
}

struct Section<'a>(&'a Map<String, Json>);

impl<'de> Visitor<'de> for Section<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut yaml: A) -> Result<Json, A::Error> {
        let mut section = Map::new();
        while let Some(name) = yaml.next_key::<String>()? {
            let value = yaml.next_value_seed(Exact(self.0.get(&name).unwrap_or(&Json::Null)))?;
            section.insert(name, value);
        }
        Ok(Json::Object(section))
    }
}

struct Items<'a>(&'a [Json]);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut yaml: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        for shape in self.0 {
            items.extend(yaml.next_element_seed(Exact(shape))?);
        }
        Ok(Json::Array(items))
    }
}

/// The keys that a document sets, with their values as written.
///
/// # Errors
/// A key that nobody knows, or that is there twice in different spellings.
pub(crate) fn entries(document: &Json) -> Result<Vec<(&'static Key, Json)>, String> {
    let mut found = Vec::new();
    flatten(document, String::new(), &mut found);
    let mut spelled: BTreeMap<&str, String> = BTreeMap::new();
    let mut entries = Vec::new();
    for (name, json) in found {
        let key = known(&name)?;
        if let Some(other) = spelled.insert(key.path, name.clone()) {
            return Err(format!("key {} is there twice, as {other} and as {name}; keep one", key.path));
        }
        entries.push((key, json.clone()));
    }
    Ok(entries)
}

/// Sections become dotted names; what a key holds as a whole stays whole.
fn flatten<'a>(json: &'a Json, name: String, found: &mut Vec<(String, &'a Json)>) {
    let key = keys::find(&name);
    let is_whole = key.is_some_and(|k| matches!(k.kind, Kind::Map | Kind::Json));
    match json {
        Json::Object(entries) if !entries.is_empty() && !is_whole => {
            for (inner, value) in entries {
                let path = if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
                flatten(value, path, found);
            }
        }
        // A section with nothing in it.
        Json::Object(_) | Json::Null if key.is_none() && (name.is_empty() || keys::is_section(&name)) => {}
        _ => found.push((name, json)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn scalars_stay_as_written() {
        let text = "a: {b: 1e5, c: 1.10, d: 007, e: yes, f: true, g: ~, h: '5', i: 123456789012345678901234567890}\n\
                    list: [1.0, null, {x: 0x1F}, off]\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({
                "a": {"b": "1e5", "c": "1.10", "d": "007", "e": "yes", "f": "true", "g": null, "h": "5",
                      "i": "123456789012345678901234567890"},
                "list": ["1.0", null, {"x": "0x1F"}, "off"]
            })
        );
        assert_eq!(
            parse("x: &a {k: 1.0}\ny: *a\nz: {<<: *a, m: 2.0}\n").unwrap(),
            json!({"x": {"k": "1.0"}, "y": {"k": "1.0"}, "z": {"k": "1.0", "m": "2.0"}})
        );
        for nothing in ["", "\n", "# only words\n", "~\n", "---\n"] {
            assert_eq!(parse(nothing).unwrap(), json!({}), "{nothing:?}");
        }
    }

    #[test]
    fn errors_say_where_but_not_what() {
        for text in [
            "Compute:\n  Auth:\n    Token: hush\n  Bad: [1\n",
            "Token: 'hush\n",
            "Token: *hush\n",
            "a: hush: x\n",
            "hush: 1\nhush: 2\n",
            "Token: @hush\n",
            "Token: !!int hush\n",
            "Token: \"\\qhush\"\n",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("not valid YAML at line ") && !error.contains("hush"), "{error}");
        }
        assert!(parse("- hush\n").unwrap_err().starts_with("expects sections"));
        let bomb =
            format!("a: &a [x,x]\n{}", (0..40).map(|i| format!("b{i}: &b{i} [*a,*a]\n")).collect::<String>());
        assert!(parse(&format!("{}c: {}\n", bomb, "[".repeat(5000))).is_err());
    }

    #[test]
    fn keys_in_any_spelling_but_once() {
        let names = |json: Json| {
            entries(&json).map(|found| found.into_iter().map(|(key, _)| key.path).collect::<Vec<_>>())
        };
        assert_eq!(
            names(json!({"api": {"PORT": "1"}, "labels": {"X": "y"}})),
            Ok(vec!["API.Port", "Labels"])
        );
        assert_eq!(names(json!({"API.Port": "1"})), Ok(vec!["API.Port"]));
        // The effective configuration can be used as a file.
        assert_eq!(
            names(json!({"FeatureFlags": {}, "Engines": {"Types": {"WASM": {}}}, "API": null})),
            Ok(vec![])
        );
        assert_eq!(
            names(json!({"API": {"Port": "1"}, "api": {"port": "2"}})),
            Err("key API.Port is there twice, as API.Port and as api.port; keep one".to_owned())
        );
        for unknown in [json!({"Nope": {}}), json!({"Nope": null}), json!({"API": {"Nope": {"x": "1"}}})] {
            assert!(names(unknown).unwrap_err().contains("is not a valid config key"));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-zA-Z&*!|>'\"#%@{}\\[\\],:?~<\\-. \n\t0-9]|\\PC){0,120}") {
            if let Ok(document) = parse(&text) {
                let _ = entries(&document);
            }
        }
    }
}
