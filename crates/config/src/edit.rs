//! `config set`: changes one key of a file, after checking it, without leaving a half-written file.

use crate::item::known;
use crate::keys::{KEYS, Key, Kind};
use crate::load::{invalid, read_document};
use crate::value::Value;
use bacalhau_model::Error;
use serde_json::{Map, Value as Json};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A change to a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    key: &'static Key,
    value: Value,
    /// The user wrote the older form with blanks.
    pub deprecated_form: bool,
}

impl Assignment {
    /// From the arguments of `config set`: `KEY=VALUE`, or `KEY VALUE...`, the older form.
    pub fn parse(args: &[String]) -> Result<Assignment, Error> {
        let (name, text, deprecated_form) = match args {
            [first, ..] if first.contains('=') => {
                let (name, text) = first.split_once('=').unwrap_or((first, ""));
                (name, text.to_owned(), false)
            }
            [name, rest @ ..] if !rest.is_empty() => (name.as_str(), rest.join(","), true),
            _ => return Err(invalid("must provide both key and value, or key=value".to_owned())),
        };
        let key = known(name).map_err(invalid)?;
        let value = Value::from_text(key, &text).map_err(invalid)?;
        Ok(Assignment { key, value, deprecated_form })
    }

    /// Writes it into a file, which is made when missing. Files with secrets are readable by their owner only.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let document = if path.exists() { read_document(path)? } else { Json::Object(Map::new()) };
        let mut found = Map::new();
        canonical(&document, "", &mut found, path)?;
        insert(&mut found, self.key.path, self.value.to_json().unwrap_or_else(|| empty(self.key.kind)));
        let text = serde_saphyr::to_string(&Json::Object(found))
            .map_err(|e| invalid(format!("{}: cannot be written as YAML: {e}", path.display())))?;
        write_atomically(path, &text)
            .map_err(|e| invalid(format!("{}: {e}", path.display())).hint("Check that you may write there"))
    }
}

/// The same document with every key in its canonical spelling. Keys that nobody knows are an error, not lost.
fn canonical(json: &Json, prefix: &str, into: &mut Map<String, Json>, path: &Path) -> Result<(), Error> {
    let section = |name: &str| KEYS.iter().any(|k| is_below(k.path, name));
    let Json::Object(entries) = json else { return Ok(()) };
    for (name, value) in entries {
        let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match crate::keys::find(&full) {
            Some(key) => insert(into, key.path, value.clone()),
            None if section(&full) && (value.is_object() || value.is_null()) => {
                canonical(value, &full, into, path)?
            }
            None => {
                let why = known(&full).err().unwrap_or_default();
                return Err(invalid(format!("{}: {why}", path.display())));
            }
        }
    }
    Ok(())
}

fn is_below(path: &str, section: &str) -> bool {
    path.get(..section.len()).is_some_and(|head| head.eq_ignore_ascii_case(section))
        && path.get(section.len()..).is_some_and(|tail| tail.starts_with('.'))
}

fn insert(into: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            into.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = into.entry(section).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// A zero value that a user set on purpose.
fn empty(kind: Kind) -> Json {
    match kind {
        Kind::Bool => Json::from(false),
        Kind::Int | Kind::Uint => Json::from(0),
        Kind::Duration => Json::from("0s"),
        Kind::List => Json::Array(Vec::new()),
        Kind::Map => Json::Object(Map::new()),
        Kind::Text | Kind::Locality | Kind::Json => Json::from(""),
    }
}

/// Another name first, then onto the old one: a crash leaves either the old file or the new one.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let temporary = path.with_extension("yaml.tmp");
    let mut file =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    // A file that was there before keeps nothing of its own mode: it may hold a secret now.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::{Config, Sources};

    fn assignment(args: &[&str]) -> Result<Assignment, Error> {
        Assignment::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn both_forms_write_and_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.yaml");
        assignment(&["compute.auth.token=abc=def"]).unwrap().write(&path).unwrap();
        let older = assignment(&["Compute.Orchestrators", "a", "b"]).unwrap();
        assert!(older.deprecated_form);
        older.write(&path).unwrap();
        assignment(&["Labels=Region=x,k=v"]).unwrap().write(&path).unwrap();
        assignment(&["WebUI.Enabled=false"]).unwrap().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Token: abc=def") && text.contains("Region: x"), "{text}");
        let sources = Sources {
            items: vec![Item::File(path)],
            home: Some(dir.path().to_owned()),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.text("Compute.Auth.Token"), "abc=def");
        assert_eq!(config.list("Compute.Orchestrators"), ["a", "b"]);
        assert_eq!(config.map("Labels").get("Region").unwrap(), "x");
    }

    #[test]
    fn mistakes_change_nothing() {
        for (args, says) in [
            (&["API.Port"][..], "must provide both key and value"),
            (&[][..], "must provide both"),
            (&["foo.bar=1"][..], "\"foo.bar\" is not a valid config key"),
            (&["API.Port=x"][..], "expects an integer"),
        ] {
            assert!(assignment(args).unwrap_err().message.contains(says));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "API:\n  Prot: 1\n").unwrap();
        let error = assignment(&["API.Port=5"]).unwrap().write(&path).unwrap_err();
        assert!(error.message.contains("Did you mean API.Port?"), "{}", error.message);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "API:\n  Prot: 1\n");
    }
}
