//! Merges the sources by precedence: `-c key=value`, environment, files, defaults. Every value knows where it is from.

use crate::item::Item;
use crate::keys::{KEYS, Key, Kind, find};
use crate::secret::mask;
use crate::value::Value;
use crate::{document, environment};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "{name}"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// Everything configuration can come from. Its debug form names variables and hides what is in them.
#[derive(Clone, Default)]
pub struct Sources {
    /// Arguments of `-c` and flags that are keys, in order; later ones win.
    pub items: Vec<Item>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The user's home, for the default data folder.
    pub home: Option<PathBuf>,
    /// The working directory, for relative paths.
    pub current_dir: PathBuf,
    /// Logical CPUs of this machine.
    pub cpus: usize,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("items", &self.items)
            .field("environment", &self.environment.keys())
            .field("home", &self.home)
            .field("current_dir", &self.current_dir)
            .field("cpus", &self.cpus)
            .finish()
    }
}

/// The effective configuration. Its debug form hides secrets.
#[derive(Clone, PartialEq)]
pub struct Config {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// Things worth telling that are no errors.
    pub warnings: Vec<String>,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(key, value, from)| (key.path, (mask(key, value), from))))
            .finish()
    }
}

impl Config {
    /// Merges the sources.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key or a wrong value; the message names file, key and what was expected.
    pub fn load(sources: &Sources) -> Result<Config, Error> {
        let mut config = Config { values: BTreeMap::new(), warnings: Vec::new(), files: Vec::new() };
        for key in KEYS {
            config.values.insert(key.path, (default_of(key, sources)?, Origin::Default));
        }
        let files: Vec<&PathBuf> = sources
            .items
            .iter()
            .filter_map(|i| if let Item::File(path) = i { Some(path) } else { None })
            .collect();
        if files.is_empty() {
            // The data folder decides where the file is, so flags and environment are looked at first.
            let mut first = config.clone();
            first.apply_environment(sources)?;
            first.apply_flags(sources);
            first.make_data_dir_absolute(sources);
            let default_file = first.data_dir()?.join("config.yaml");
            if default_file.is_file() {
                config.apply_file(&default_file)?;
            }
        }
        for path in files {
            config.apply_file(path)?;
        }
        config.apply_environment(sources)?;
        config.apply_flags(sources);
        config.make_data_dir_absolute(sources);
        Ok(config)
    }

    fn apply_flags(&mut self, sources: &Sources) {
        for item in &sources.items {
            if let Item::Set(path, value) = item {
                self.values.insert(path, (value.clone(), Origin::Flag));
            }
        }
    }

    fn apply_environment(&mut self, sources: &Sources) -> Result<(), Error> {
        for (key, value, name) in environment::values(&sources.environment)? {
            self.values.insert(key.path, (value, Origin::Environment(name)));
        }
        self.warnings.extend(environment::warnings(&sources.environment));
        Ok(())
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), Error> {
        let at = |why: String| invalid(format!("{}: {why}", path.display()));
        for (key, json) in document::entries(&document::read(path)?).map_err(at)? {
            let value = Value::from_json(key, &json).map_err(|why| at(format!("key {}: {why}", key.path)))?;
            if let Some(value) = value {
                let merged = merge(self.values.get(key.path), value);
                self.values.insert(key.path, (merged, Origin::File(path.to_owned())));
            }
        }
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Relative to the working directory, `~` being the home. What has no such place is left for [`Config::data_dir`]
    /// to refuse.
    fn make_data_dir_absolute(&mut self, sources: &Sources) {
        let Some((Value::Text(text), _)) = self.values.get_mut("DataDir") else { return };
        let path = Path::new(text.as_str());
        let absolute = match (path.strip_prefix("~"), &sources.home) {
            (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home.clone(),
            (Ok(rest), Some(home)) => home.join(rest),
            (Ok(_), None) => return,
            (Err(_), _) if text.is_empty() => return,
            (Err(_), _) => sources.current_dir.join(path),
        };
        *text = absolute.to_string_lossy().into_owned();
    }

    /// The data folder.
    ///
    /// # Errors
    /// When there is none, or it is no absolute path without `$`.
    pub fn data_dir(&self) -> Result<PathBuf, Error> {
        let text = self.text("DataDir");
        check_data_dir(text)?;
        match Path::new(text).is_absolute() {
            true => Ok(PathBuf::from(text)),
            false => Err(invalid(format!("data dir path {text:?} is not an absolute path"))
                .hint("Set HOME, or write DataDir as a path from /")),
        }
    }

    /// A value and its origin.
    pub fn get(&self, path: &str) -> Option<(&Value, &Origin)> {
        self.values.get(path).map(|(value, origin)| (value, origin))
    }

    /// All values in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Value, &Origin)> {
        KEYS.iter().filter_map(|key| self.values.get(key.path).map(|(value, origin)| (key, value, origin)))
    }

    /// A text; empty for keys of another type.
    pub fn text(&self, path: &str) -> &str {
        match self.get(path) {
            Some((Value::Text(text), _)) => text,
            _ => "",
        }
    }

    /// A boolean; false for keys of another type.
    pub fn bool(&self, path: &str) -> bool {
        matches!(self.get(path), Some((Value::Bool(true), _)))
    }

    /// A number; 0 for keys of another type.
    pub fn int(&self, path: &str) -> i64 {
        match self.get(path) {
            Some((Value::Int(number), _)) => *number,
            _ => 0,
        }
    }

    /// A duration; zero for keys of another type.
    pub fn duration(&self, path: &str) -> Duration {
        match self.get(path) {
            Some((Value::Duration(duration), _)) => *duration,
            _ => Duration::ZERO,
        }
    }

    /// A list; empty for keys of another type.
    pub fn list(&self, path: &str) -> &[String] {
        match self.get(path) {
            Some((Value::List(items), _)) => items,
            _ => &[],
        }
    }

    /// Texts by name; empty for keys of another type.
    pub fn map(&self, path: &str) -> BTreeMap<String, String> {
        match self.get(path) {
            Some((Value::Map(entries), _)) => entries.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Anything; null for keys of another type.
    pub fn json(&self, path: &str) -> Json {
        match self.get(path) {
            Some((Value::Json(json), _)) => json.clone(),
            _ => Json::Null,
        }
    }

    /// True when the value is not the table's default.
    pub fn is_set(&self, path: &str) -> bool {
        self.get(path).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    /// Replaces a value, as the command line would.
    pub fn set(&mut self, path: &str, value: Value) {
        if let Some(key) = find(path) {
            self.values.insert(key.path, (value, Origin::Flag));
        }
    }
}

/// Maps of several files are merged entry by entry, everything else is replaced. Defaults are never merged into.
fn merge(old: Option<&(Value, Origin)>, new: Value) -> Value {
    match (old, new) {
        (Some((Value::Map(old), Origin::File(_))), Value::Map(new)) => {
            let mut merged = old.clone();
            merged.extend(new);
            Value::Map(merged)
        }
        (_, new) => new,
    }
}

fn default_of(key: &Key, sources: &Sources) -> Result<Value, Error> {
    let text = match key.default {
        "" => return Ok(Value::zero(key.kind)),
        "$CPUS" => sources.cpus.to_string(),
        path if path.starts_with("$HOME") => match &sources.home {
            Some(home) => path.replacen("$HOME", &home.to_string_lossy(), 1),
            None => String::new(),
        },
        other => other.to_owned(),
    };
    match key.kind {
        Kind::Json => serde_json::from_str(&text).map(Value::Json).map_err(|e| invalid(e.to_string())),
        _ => Value::from_text(key, &text).map_err(invalid),
    }
}

/// What no data folder may be called, relative or not.
pub(crate) fn check_data_dir(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(invalid("data dir path is empty".to_owned()).hint("Set DataDir, --data-dir or HOME"));
    }
    if text.contains('$') {
        // Nobody expands variables here; a folder with that name is never what was meant.
        return Err(invalid(format!("data dir path {text:?} contains a '$' character")));
    }
    Ok(())
}

/// An error about configuration.
pub(crate) fn invalid(message: String) -> Error {
    Error::new(code::CONFIGURATION_ERROR, message)
        .hint("Run 'bacalhau config list' for all keys, their values and where these come from")
}

#[cfg(test)]
mod tests;
