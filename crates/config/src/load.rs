//! Merges the sources by precedence: `-c key=value`, environment, files, defaults. Every value knows where it is from.

use crate::item::{Item, known};
use crate::keys::{KEYS, Key, Kind, find};
use crate::value::Value;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest configuration file that is read, bytes.
const MOST_BYTES: u64 = 1 << 20;

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

/// Everything configuration can come from.
#[derive(Clone, Debug, Default)]
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

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// Things worth telling that are no errors.
    pub warnings: Vec<String>,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
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
        let mut set = |key: &Key, name: &str, text: &str| {
            let value = Value::from_text(key, text)
                .map_err(|why| invalid(format!("environment variable {name}: {why}")))?;
            self.values
                .insert(find(key.path).map_or("", |k| k.path), (value, Origin::Environment(name.to_owned())));
            Ok::<(), Error>(())
        };
        // The older names first, so that the full ones win.
        for (name, path) in [("BACALHAU_DIR", "DataDir"), ("LOG_LEVEL", "Logging.Level")] {
            if let (Some(text), Some(key)) =
                (sources.environment.get(name).filter(|t| !t.is_empty()), find(path))
            {
                set(key, name, text)?;
            }
        }
        for key in KEYS {
            let name = key.env();
            if let Some(text) = sources.environment.get(&name).filter(|text| !text.is_empty()) {
                set(key, &name, text)?;
            }
        }
        self.warnings.extend(unknown_variables(&sources.environment));
        Ok(())
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), Error> {
        let document = read_document(path)?;
        let mut found = Vec::new();
        flatten(&document, String::new(), &mut found);
        for (name, json) in found {
            let at = |why: String| invalid(format!("{}: {why}", path.display()));
            let key = known(&name).map_err(at)?;
            let value = Value::from_json(key, &json).map_err(|why| at(format!("key {}: {why}", key.path)))?;
            if let Some(value) = value {
                let merged = merge(self.values.get(key.path), value);
                self.values.insert(key.path, (merged, Origin::File(path.to_owned())));
            }
        }
        self.files.push(path.to_owned());
        Ok(())
    }

    fn make_data_dir_absolute(&mut self, sources: &Sources) {
        if let Some((Value::Text(text), _)) = self.values.get_mut("DataDir") {
            let expanded = match (text.strip_prefix("~/"), &sources.home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(text.as_str()),
            };
            *text = sources.current_dir.join(expanded).to_string_lossy().into_owned();
        }
    }

    /// The data folder.
    pub fn data_dir(&self) -> Result<PathBuf, Error> {
        let text = self.text("DataDir");
        if text.is_empty() {
            return Err(invalid("data dir path is empty".to_owned()).hint("Set DataDir, --data-dir or HOME"));
        }
        if text.contains('$') {
            return Err(invalid(format!("data dir path {text:?} contains a '$' character")));
        }
        Ok(PathBuf::from(text))
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

/// Sections of a file become dotted names; what a key holds as a whole stays whole.
fn flatten(json: &Json, prefix: String, found: &mut Vec<(String, Json)>) {
    match json {
        Json::Object(entries) if !find(&prefix).is_some_and(|k| matches!(k.kind, Kind::Map | Kind::Json)) => {
            for (name, value) in entries {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(value, path, found);
            }
        }
        Json::Null if find(&prefix).is_none() && KEYS.iter().any(|k| starts_section(k.path, &prefix)) => {}
        _ => found.push((prefix, json.clone())),
    }
}

/// True when `path` is a key inside the section.
fn starts_section(path: &str, section: &str) -> bool {
    path.get(..section.len()).is_some_and(|head| head.eq_ignore_ascii_case(section))
        && path.get(section.len()..).is_some_and(|tail| tail.starts_with('.'))
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

/// Reads a YAML file into a document; an empty file is an empty document.
pub(crate) fn read_document(path: &Path) -> Result<Json, Error> {
    let fail = |why: String| invalid(format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(fail(format!("{size} bytes are too many for a configuration file")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    if text.trim().is_empty() {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    let document: Json = serde_saphyr::from_str(&text).map_err(|e| fail(format!("not valid YAML: {e}")))?;
    match document {
        Json::Null => Ok(Json::Object(serde_json::Map::new())),
        Json::Object(_) => Ok(document),
        _ => Err(fail("expects sections with keys, like `API:` and below it `Port: 1234`".to_owned())),
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

/// Variables that look like keys and are none. Some are read by other parts of the program.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    const OTHERS: [&str; 7] =
        ["DIR", "PROFILE", "API_KEY", "API_USERNAME", "API_PASSWORD", "UPDATE_CHECKER_", "SIM_"];
    let sections: Vec<String> = KEYS
        .iter()
        .map(|k| format!("{}_", k.path.split('.').next().unwrap_or_default().to_ascii_uppercase()))
        .collect();
    let is_unknown = |name: &&String| {
        let Some(rest) = name.strip_prefix("BACALHAU_") else { return false };
        !OTHERS.iter().any(|o| rest == *o || (o.ends_with('_') && rest.starts_with(o)))
            && sections.iter().any(|s| rest.starts_with(s.as_str()))
            && !KEYS.iter().any(|k| k.env() == **name)
    };
    environment
        .keys()
        .filter(is_unknown)
        .map(|name| format!("environment variable {name} is no configuration key and is ignored"))
        .collect()
}

/// An error about configuration.
pub(crate) fn invalid(message: String) -> Error {
    Error::new(code::CONFIGURATION_ERROR, message)
        .hint("Run 'bacalhau config list' for all keys, their values and where these come from")
}

#[cfg(test)]
mod tests;
