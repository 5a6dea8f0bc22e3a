//! `config set`: changes one key of a file, after checking it, without leaving a half-written file.

use crate::item::known;
use crate::keys::{Key, Kind};
use crate::load::{check_data_dir, invalid};
use crate::secret::mask;
use crate::value::Value;
use crate::{atomic, document};
use bacalhau_model::Error;
use serde_json::{Map, Value as Json};
use std::fmt;
use std::path::Path;

/// A change to a file. Its debug form hides secrets.
#[derive(Clone, PartialEq)]
pub struct Assignment {
    key: &'static Key,
    value: Value,
    /// The user wrote the older form with blanks.
    pub deprecated_form: bool,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Assignment").field(&self.key.path).field(&mask(self.key, &self.value)).finish()
    }
}

impl Assignment {
    /// From the arguments of `config set`: `KEY=VALUE`, or `KEY VALUE...`, the older form.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type, or too much or too little on the line.
    pub fn parse(args: &[String]) -> Result<Assignment, Error> {
        let (name, text, deprecated_form) = match args {
            [first, more, ..] if first.contains('=') => {
                // Taking the first word only would lose the rest without a word.
                return Err(invalid(format!("{more:?} does not belong to {:?}", name_of(first)))
                    .hint("Quote values with blanks, and separate the items of a list by commas"));
            }
            [first] if first.contains('=') => {
                let (name, text) = first.split_once('=').unwrap_or((first, ""));
                (name, text.to_owned(), false)
            }
            [name, rest @ ..] if !rest.is_empty() => (name.as_str(), rest.join(","), true),
            _ => return Err(invalid("must provide both key and value, or key=value".to_owned())),
        };
        let key = known(name).map_err(invalid)?;
        let mut value = Value::from_text(key, &text).map_err(invalid)?;
        if let ("DataDir", Value::Text(text)) = (key.path, &mut value) {
            check_data_dir(text)?;
            make_absolute(text)?;
        }
        Ok(Assignment { key, value, deprecated_form })
    }

    /// Writes it into a file, which is made when missing, and is readable by its owner only: it may hold secrets.
    /// Comments in it are lost, keys get their canonical spelling.
    ///
    /// # Errors
    /// A file that is no YAML or has keys that nobody knows, which would be lost; it is not changed then.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let at = |why: String| invalid(format!("{}: {why}", path.display()));
        let document = if path.exists() { document::read(path)? } else { Json::Object(Map::new()) };
        let mut found = Map::new();
        for (key, json) in document::entries(&document).map_err(at)? {
            insert(&mut found, key.path, written(key, json));
        }
        insert(&mut found, self.key.path, self.value.to_json().unwrap_or_else(|| empty(self.key.kind)));
        let text = serde_saphyr::to_string(&Json::Object(found))
            .map_err(|e| at(format!("cannot be written as YAML: {e}")))?;
        atomic::write(path, &text).map_err(|e| at(e.to_string()).hint("Check that you may write there"))
    }
}

/// What stands before the `=`: the rest may be a secret.
fn name_of(assignment: &str) -> &str {
    assignment.split('=').next().unwrap_or_default()
}

/// A file is read from everywhere: a relative folder in it would be another one each time. `~` is left for reading.
fn make_absolute(text: &mut String) -> Result<(), Error> {
    if !Path::new(text.as_str()).starts_with("~") {
        let absolute = std::path::absolute(text.as_str())
            .map_err(|e| invalid(format!("data dir path {text:?} cannot be made absolute: {e}")))?;
        *text = absolute.to_string_lossy().into_owned();
    }
    Ok(())
}

/// The value as it is written. Only numbers and booleans need their type; the rest stays as the user wrote it, and a
/// wrong value too: loading says what is wrong with it, and setting it is how it is put right.
fn written(key: &Key, json: Json) -> Json {
    match key.kind {
        Kind::Bool | Kind::Int | Kind::Uint => match Value::from_json(key, &json) {
            Ok(Some(value)) => value.to_json().unwrap_or_else(|| empty(key.kind)),
            _ => json,
        },
        _ => json,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::{Config, Sources};
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

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
            (
                &["Compute.Orchestrators=hush@a", "b"][..],
                "\"b\" does not belong to \"Compute.Orchestrators\"",
            ),
            (&["DataDir="][..], "data dir path is empty"),
            (&["DataDir=$HOME/x"][..], "contains a '$' character"),
            (&["API.Auth.Users=x"][..], "can only be set in a file"),
        ] {
            let error = format!("{:?}", assignment(args).unwrap_err());
            assert!(error.contains(&says.replace('"', "\\\"")) && !error.contains("hush"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "API:\n  Prot: 1\n").unwrap();
        let error = assignment(&["API.Port=5"]).unwrap().write(&path).unwrap_err();
        assert!(error.message.contains("Did you mean API.Port?"), "{}", error.message);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "API:\n  Prot: 1\n");
    }

    #[test]
    fn the_rest_of_the_file_stays_as_it_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(
            &path,
            "compute: {auth: {token: 1e5}, heartbeat: {interval: 5m}}\nlabels: {v: 1.10}\nwebui: {enabled: yes}\n\
             api: {port: oops, auth: {users: [{Username: u, Password: 007}]}}\n",
        )
        .unwrap();
        // A wrong value can be put right, and only then does the file load.
        assignment(&["API.Port=5"]).unwrap().write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Interval: 5m\n") && text.contains("Enabled: true\n"), "{text}");
        let items = vec![Item::File(path)];
        let config = Config::load(&Sources { items, ..Sources::default() }).unwrap();
        assert_eq!(config.text("Compute.Auth.Token"), "1e5");
        assert_eq!(config.map("Labels").get("v").unwrap(), "1.10");
        assert_eq!(config.json("API.Auth.Users")[0]["Password"], "007");
        assert!(config.bool("WebUI.Enabled"));
    }

    #[test]
    fn the_data_folder_is_written_absolute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let written = |text: &str| {
            assignment(&["datadir", text]).unwrap().write(&path).unwrap();
            let config =
                Config::load(&Sources { items: vec![Item::File(path.clone())], ..Sources::default() })
                    .unwrap();
            config.text("DataDir").to_owned()
        };
        let here = std::env::current_dir().unwrap();
        assert_eq!(written("some/where"), here.join("some/where").display().to_string());
        assert_eq!(written("/else/where"), "/else/where");
        assert_eq!(written("~/where"), "~/where");
    }

    #[test]
    fn debug_output_hides_secrets() {
        let shown = format!("{:?}", assignment(&["Compute.Auth.Token=hush"]).unwrap());
        assert!(shown.contains("Compute.Auth.Token") && !shown.contains("hush"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC{0,30}|[ \t\n:#'\"&*!|>%@`{}\\[\\],?-]{0,8}|(null|yes|~|1e5|0x1F|1_0|<<|=)") {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.yaml");
            for key in ["Compute.Auth.Token", "API.Host"] {
                assignment(&[key, &text]).unwrap().write(&path).unwrap();
            }
            let items = vec![Item::File(path)];
            let config = Config::load(&Sources { items, ..Sources::default() }).unwrap();
            prop_assert_eq!(config.text("API.Host"), &text);
            prop_assert_eq!(config.text("Compute.Auth.Token"), &text);
        }
    }
}
