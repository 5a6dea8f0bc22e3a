//! Shapes of the values that only files can hold: users and authentication methods. What they mean is not decided here.

use crate::value::describe;
use serde_json::{Map, Value as Json};

/// What may stand somewhere.
enum Shape {
    Text,
    List(&'static Shape),
    ByName(&'static Shape),
    Section(&'static [(&'static str, Shape)]),
}

static USERS: Shape = Shape::List(&Shape::Section(&[
    ("Alias", Shape::Text),
    ("Username", Shape::Text),
    ("Password", Shape::Text),
    ("APIKey", Shape::Text),
    ("Capabilities", Shape::List(&Shape::Section(&[("Actions", Shape::List(&Shape::Text))]))),
]));

static METHODS: Shape = Shape::ByName(&Shape::Section(&[("Type", Shape::Text), ("PolicyPath", Shape::Text)]));

/// The value of the key `path` with its fields in their canonical spelling.
///
/// # Errors
/// Where it has another shape, without quoting values: there are passwords among them.
pub(crate) fn read(path: &str, json: &Json) -> Result<Json, String> {
    let shape = match path {
        "API.Auth.Users" => &USERS,
        "API.Auth.Methods" => &METHODS,
        _ => return Ok(json.clone()),
    };
    shape.read(json, "")
}

impl Shape {
    fn read(&self, json: &Json, place: &str) -> Result<Json, String> {
        let wrong = |what: &str| {
            let place = place.trim_start_matches('.');
            let colon = if place.is_empty() { "" } else { ": " };
            Err(format!("{place}{colon}expects {what}, found {}", describe(json)))
        };
        match (self, json) {
            (Shape::Text, Json::String(_)) => Ok(json.clone()),
            (Shape::Text, Json::Bool(_) | Json::Number(_)) => Ok(Json::String(json.to_string())),
            (Shape::Text, _) => wrong("a text"),
            (Shape::List(inner), Json::Array(items)) => {
                let read = |(i, item): (usize, &Json)| inner.read(item, &format!("{place}[{i}]"));
                items.iter().enumerate().map(read).collect()
            }
            (Shape::List(_), _) => wrong("a list"),
            (Shape::ByName(inner), Json::Object(entries)) => {
                let read = |(name, value): (&String, &Json)| {
                    Ok((name.clone(), inner.read(value, &format!("{place}.{name}"))?))
                };
                entries.iter().map(read).collect()
            }
            (Shape::ByName(_), _) => wrong("sections by name"),
            (Shape::Section(fields), Json::Object(entries)) => section(fields, entries, place),
            (Shape::Section(_), _) => wrong("a section"),
        }
    }
}

fn section(
    fields: &[(&'static str, Shape)],
    entries: &Map<String, Json>,
    place: &str,
) -> Result<Json, String> {
    let mut read = Map::new();
    for (name, value) in entries {
        let Some((field, shape)) = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)) else {
            let known: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
            let place = place.trim_start_matches('.');
            return Err(format!("{place}: there is no field {name:?}, only {}", known.join(", ")));
        };
        if !value.is_null() {
            read.insert((*field).to_owned(), shape.read(value, &format!("{place}.{field}"))?);
        }
    }
    Ok(Json::Object(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_and_methods() {
        assert_eq!(
            read(
                "API.Auth.Users",
                &json!([{"username": "u", "PASSWORD": 5, "capabilities": [{"actions": ["*"]}], "Alias": null}])
            ),
            Ok(json!([{"Username": "u", "Password": "5", "Capabilities": [{"Actions": ["*"]}]}]))
        );
        assert_eq!(
            read("API.Auth.Methods", &json!({"Mine": {"type": "ask"}})),
            Ok(json!({"Mine": {"Type": "ask"}}))
        );
        for (path, value, says) in [
            ("API.Auth.Users", json!("hush"), "expects a list, found a text"),
            ("API.Auth.Users", json!([["hush"]]), "[0]: expects a section, found a list"),
            ("API.Auth.Users", json!([{"Password": ["hush"]}]), "[0].Password: expects a text, found a list"),
            ("API.Auth.Users", json!([{"Pass": "hush"}]), "[0]: there is no field \"Pass\", only Alias,"),
            (
                "API.Auth.Users",
                json!([{"Capabilities": [{"Actions": "hush"}]}]),
                "[0].Capabilities[0].Actions: expects a list, found a text",
            ),
            ("API.Auth.Methods", json!(["x"]), "expects sections by name, found a list"),
            ("API.Auth.Methods", json!({"Mine": {"Kind": "x"}}), "Mine: there is no field \"Kind\""),
        ] {
            let error = read(path, &value).unwrap_err();
            assert!(error.starts_with(says) && !error.contains("hush"), "{error}");
        }
    }
}
