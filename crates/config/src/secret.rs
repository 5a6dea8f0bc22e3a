//! Hides credentials wherever values are shown: lists, documents, errors, debug output. Knows nothing of where they go.

use crate::keys::Key;
use crate::value::Value;
use serde_json::Value as Json;
use std::borrow::Cow;

/// Stands for every secret that is set.
pub const MASK: &str = "********";

/// Fields of structured values that are secrets, lower-case.
const FIELDS: [&str; 2] = ["password", "apikey"];

/// The value as it may be shown: secrets are masked, as are credentials inside addresses and users.
pub fn mask(key: &Key, value: &Value) -> Value {
    if !key.secret {
        return value.clone();
    }
    match value {
        Value::Text(text) if !text.is_empty() => Value::Text(MASK.to_owned()),
        Value::List(items) => Value::List(items.iter().map(|a| without_credentials(a)).collect()),
        Value::Json(json) => {
            let mut json = json.clone();
            mask_fields(&mut json);
            Value::Json(json)
        }
        other => other.clone(),
    }
}

/// Text that somebody gave for a key, as an error may quote it.
pub(crate) fn mask_text<'a>(key: &Key, text: &'a str) -> Cow<'a, str> {
    if key.secret { Cow::Borrowed(MASK) } else { Cow::Borrowed(text) }
}

/// An address without what stands before the `@`: `token@host`, `nats://user:password@host`.
fn without_credentials(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme =
                before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}{MASK}@{host}")
        }
        None => address.to_owned(),
    }
}

fn mask_fields(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(mask_fields),
        Json::Object(entries) => {
            for (name, value) in entries {
                match value {
                    Json::Object(_) | Json::Array(_) => mask_fields(value),
                    Json::Null => {}
                    Json::String(text) if text.is_empty() => {}
                    scalar if FIELDS.contains(&name.to_ascii_lowercase().as_str()) => {
                        *scalar = Json::from(MASK);
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::find;
    use serde_json::json;

    fn masked(path: &str, value: Value) -> Value {
        mask(find(path).unwrap(), &value)
    }

    #[test]
    fn each_kind_of_secret() {
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(masked("Compute.Auth.Token", text("hush")), text(MASK));
        assert_eq!(masked("Orchestrator.Auth.Token", text("")), text(""), "what is not set stays empty");
        assert_eq!(masked("API.Host", text("h")), text("h"));
        let list = |items: &[&str]| Value::List(items.iter().map(|i| (*i).to_owned()).collect());
        for path in ["Compute.Orchestrators", "Orchestrator.Cluster.Peers"] {
            assert_eq!(
                masked(path, list(&["hush@h:1", "nats://u:hu@sh@i", "plain:4222"])),
                list(&["********@h:1", "nats://********@i", "plain:4222"])
            );
        }
        assert_eq!(
            masked(
                "API.Auth.Users",
                Value::Json(json!([{"Username": "u", "PassWord": "hush", "APIKey": 5, "Alias": ""}]))
            ),
            Value::Json(json!([{"Username": "u", "PassWord": MASK, "APIKey": MASK, "Alias": ""}]))
        );
    }
}
