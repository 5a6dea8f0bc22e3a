//! How configuration is shown: rows for `config list`, a document for the API. Secrets are never part of it.

use crate::keys::{KEYS, Key};
use crate::load::Config;
use crate::value::Value;
use serde_json::{Map, Value as Json};

/// Stands for every secret that is set.
pub const MASK: &str = "********";

/// One row of `config list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Path of the key.
    pub key: &'static str,
    /// Its value as text.
    pub value: String,
    /// What it does.
    pub description: &'static str,
    /// Where the value is from.
    pub origin: String,
}

/// All keys, by path.
pub fn rows(config: &Config) -> Vec<Row> {
    let mut rows: Vec<Row> = config
        .iter()
        .map(|(key, value, origin)| Row {
            key: key.path,
            value: masked(key, value).display(),
            description: key.doc,
            origin: origin.to_string(),
        })
        .collect();
    rows.sort_by_key(|row| row.key);
    rows
}

/// The effective configuration as nested sections in the order of the table. Zero values are left out, except where
/// Bacalhau 1.9 shows them; sections are always there.
pub fn document(config: &Config) -> Json {
    let mut root = Map::new();
    for (key, value, _) in config.iter() {
        let shown = match (masked(key, value).to_json(), key.path) {
            (None, "API.TLS.Insecure") => Some(Json::from(false)),
            (shown, _) => shown,
        };
        place(&mut root, key.path, shown);
    }
    Json::Object(root)
}

fn place(into: &mut Map<String, Json>, path: &str, value: Option<Json>) {
    match (path.split_once('.'), value) {
        (Some((section, rest)), value) => {
            let inner = into.entry(section).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
        (None, Some(value)) => {
            into.insert(path.to_owned(), value);
        }
        (None, None) => {}
    }
}

/// The value, or the mask where it is or holds a secret.
fn masked(key: &Key, value: &Value) -> Value {
    match value {
        Value::Text(text) if key.secret && !text.is_empty() => Value::Text(MASK.to_owned()),
        Value::List(addresses) if key.path == "Compute.Orchestrators" => {
            Value::List(addresses.iter().map(|a| without_user_info(a)).collect())
        }
        Value::Json(json) if key.path == "API.Auth.Users" => {
            let mut json = json.clone();
            mask_fields(&mut json, &["password", "apikey"]);
            Value::Json(json)
        }
        other => other.clone(),
    }
}

/// Addresses may carry a token: `secret@host`.
fn without_user_info(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme =
                before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}{MASK}@{host}")
        }
        None => address.to_owned(),
    }
}

fn mask_fields(json: &mut Json, names: &[&str]) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(|item| mask_fields(item, names)),
        Json::Object(entries) => {
            for (name, value) in entries {
                let secret = names.contains(&name.to_ascii_lowercase().as_str());
                if secret && value.as_str().is_some_and(|text| !text.is_empty()) {
                    *value = Json::from(MASK);
                } else {
                    mask_fields(value, names);
                }
            }
        }
        _ => {}
    }
}

/// All keys, for completion.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::Sources;
    use serde_json::json;

    #[test]
    fn secrets_do_not_show() {
        let items = ["Compute.Auth.Token=hush", "Compute.Orchestrators=hush@h:1,nats://hush@i", "API.Port=5"];
        let sources = Sources {
            items: items.iter().map(|i| Item::parse(i).unwrap()).collect(),
            home: Some("/nowhere".into()),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        let document = document(&config);
        assert_eq!(document["Compute"]["Auth"]["Token"], MASK);
        assert_eq!(document["Compute"]["Orchestrators"], json!(["********@h:1", "nats://********@i"]));
        assert_eq!(document["API"]["TLS"], json!({"Insecure": false}));
        assert_eq!(document["Orchestrator"]["Auth"], json!({}));
        assert_eq!(document["Orchestrator"]["NodeManager"], json!({"DisconnectTimeout": "1m0s"}));
        let shown = format!("{document}{:?}", rows(&config));
        assert!(!shown.contains("hush"), "{shown}");
        let port = rows(&config).into_iter().find(|r| r.key == "API.Port").unwrap();
        assert_eq!((port.value.as_str(), port.origin.as_str()), ("5", "command line"));
    }
}
