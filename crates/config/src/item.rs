//! The grammar of `-c`: a file, `key=value`, or a bare boolean key.

use crate::keys::{self, Key, Kind};
use crate::secret::mask;
use crate::value::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// What one `-c` says. Its debug form hides secrets.
#[derive(Clone, PartialEq)]
pub enum Item {
    /// Read this file.
    File(PathBuf),
    /// Set this key.
    Set(&'static str, Value),
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::File(path) => f.debug_tuple("File").field(path).finish(),
            Item::Set(path, value) => {
                let shown = keys::find(path).map_or_else(|| value.clone(), |key| mask(key, value));
                f.debug_tuple("Set").field(path).field(&shown).finish()
            }
        }
    }
}

impl Item {
    /// Reads one argument of `-c`, or of a flag named like a key as `key=value`.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Item, String> {
        if let Some((name, value)) = text.split_once('=') {
            let key = known(name)?;
            return Ok(Item::Set(key.path, Value::from_text(key, value)?));
        }
        let path = Path::new(text);
        let is_yaml =
            path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"));
        if is_yaml {
            return match (path.exists(), path.is_dir()) {
                (false, _) => Err(format!("specified configuration file doesn't exist: {text}")),
                (true, true) => {
                    Err(format!("specified configuration file is a directory, must be a file: {text}"))
                }
                (true, false) => Ok(Item::File(path.to_owned())),
            };
        }
        if path.is_file() {
            return Err("config files must end in suffix '.yaml' or '.yml'".to_owned());
        }
        let key = known(text)?;
        match key.kind {
            Kind::Bool => Ok(Item::Set(key.path, Value::Bool(true))),
            _ => Err(format!("config flag key requires a value.\n\t--config {}=<value>", key.path)),
        }
    }
}

/// Longest part of an unknown name that an error repeats, characters.
const MOST_SHOWN: usize = 100;

/// The key of that name, or an error with a suggestion.
pub(crate) fn known(name: &str) -> Result<&'static Key, String> {
    let name = name.trim();
    keys::find(name).ok_or_else(|| {
        let hint = match (keys::is_section(name), keys::similar(name)) {
            (true, _) => " It is a section of several keys.".to_owned(),
            (false, Some(path)) => format!(" Did you mean {path}?"),
            (false, None) => String::new(),
        };
        let shown: String = name.chars().take(MOST_SHOWN).collect();
        format!(
            "{shown:?} is not a valid config key.{hint} Run 'bacalhau config list' for a list of valid keys"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        assert_eq!(Item::parse("api.port=80"), Ok(Item::Set("API.Port", Value::Int(80))));
        assert_eq!(Item::parse("WebUI.Enabled"), Ok(Item::Set("WebUI.Enabled", Value::Bool(true))));
        let token = Item::parse("Compute.Auth.Token=abc=def").unwrap();
        assert_eq!(token, Item::Set("Compute.Auth.Token", Value::Text("abc=def".into())));
        for (text, says) in [
            ("API.Port", "requires a value"),
            ("API.Prot=1", "Did you mean API.Port?"),
            ("nothing.yaml", "doesn't exist"),
            ("API.Port=x", "expects an integer"),
            ("zzzzzzzzzzzz", "\"zzzzzzzzzzzz\" is not a valid config key. Run 'bacalhau config list'"),
            ("API.TLS=x", "\"API.TLS\" is not a valid config key. It is a section of several keys."),
            ("", "is not a valid config key"),
            ("=", "is not a valid config key"),
        ] {
            let error = Item::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(
            Item::parse("API.Port").unwrap_err(),
            "config flag key requires a value.\n\t--config API.Port=<value>"
        );
        assert!(Item::parse(&"x".repeat(1 << 16)).unwrap_err().len() < 300);
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("a.YML"), "").unwrap();
        std::fs::write(path("a.json"), "").unwrap();
        std::fs::create_dir(path("d.yaml")).unwrap();
        assert_eq!(Item::parse(&path("a.YML")), Ok(Item::File(path("a.YML").into())));
        for (name, says) in [
            ("a.json", "config files must end in suffix '.yaml' or '.yml'"),
            ("d.yaml", "specified configuration file is a directory, must be a file: /"),
            ("no.yaml", "specified configuration file doesn't exist: /"),
        ] {
            assert!(Item::parse(&path(name)).unwrap_err().starts_with(says), "{name}");
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        let shown = format!("{:?}", Item::parse("Compute.Auth.Token=hush"));
        assert!(shown.contains("Compute.Auth.Token") && !shown.contains("hush"), "{shown}");
        assert!(format!("{:?}", Item::parse("API.Port=80")).contains("80"));
    }
}
