//! The grammar of `-c`: a file, `key=value`, or a bare boolean key.

use crate::keys::{self, Key, Kind};
use crate::value::Value;
use std::path::{Path, PathBuf};

/// What one `-c` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Read this file.
    File(PathBuf),
    /// Set this key.
    Set(&'static str, Value),
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

/// The key of that name, or an error with a suggestion.
pub(crate) fn known(name: &str) -> Result<&'static Key, String> {
    keys::find(name.trim()).ok_or_else(|| {
        let hint = keys::similar(name).map(|path| format!(" Did you mean {path}?")).unwrap_or_default();
        format!(
            "{name:?} is not a valid config key.{hint} Run 'bacalhau config list' for a list of valid keys"
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
            ("zzzzzzzzzzzz", "not a valid config key"),
        ] {
            assert!(Item::parse(text).unwrap_err().contains(says), "{text}");
        }
    }
}
