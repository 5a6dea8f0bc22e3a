//! Environment variables, with what `.env` files add.
//!
//! A `.env` file in the working directory fills in what the environment does not have; the file named by
//! `DEVSTACK_ENV_FILE` (which `serve` and `devstack` write) overrides it. The process's own environment is never
//! changed.

use crate::failure::fail;
use bacalhau_model::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest file read.
const MAX_FILE: u64 = 1 << 20;

/// Variables as the program sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's environment and the files. Variables that are no UTF-8 text are left out.
    pub(crate) fn load() -> Result<Environment, Error> {
        let own = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment::layered(own.collect(), Path::new(".env"))
    }

    fn layered(own: BTreeMap<String, String>, dot_env: &Path) -> Result<Environment, Error> {
        let mut all = read(dot_env)?;
        all.extend(own);
        if let Some(file) = all.get("DEVSTACK_ENV_FILE").filter(|f| !f.is_empty()).cloned() {
            all.extend(read(Path::new(&file))?);
        }
        Ok(Environment(all))
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// The variables in a file; none when there is no such file.
fn read(file: &Path) -> Result<BTreeMap<String, String>, Error> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() && meta.len() <= MAX_FILE => {}
        _ => return Ok(BTreeMap::new()),
    }
    let text = std::fs::read_to_string(file)
        .map_err(|e| fail(format!("cannot read the environment file {}: {e}", file.display())))?;
    Ok(text.lines().filter_map(variable).collect())
}

/// `NAME=value`, `export NAME="value"`; anything else is no variable.
fn variable(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    if !is_name {
        return None;
    }
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.split_once(quote));
    let value = match quoted {
        Some((inside, _)) => inside,
        None => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let show = |line| variable(line).map(|(name, value)| format!("{name}|{value}"));
        for (line, expected) in [
            ("A=1", Some("A|1")),
            ("  export B = 'x y' # note", Some("B|x y")),
            ("C=\"a#b\"", Some("C|a#b")),
            ("D=a # note", Some("D|a")),
            ("E=", Some("E|")),
            ("# F=1", None),
            ("", None),
            ("no variable", None),
        ] {
            assert_eq!(show(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn layers() {
        let dir = tempfile::tempdir().unwrap();
        let dot_env = dir.path().join(".env");
        let devstack = dir.path().join("run");
        std::fs::write(&dot_env, format!("A=file\nB=file\nDEVSTACK_ENV_FILE={}\n", devstack.display()))
            .unwrap();
        std::fs::write(&devstack, "export A=devstack\n").unwrap();
        let own = BTreeMap::from([("B".to_owned(), "own".to_owned())]);
        let env = Environment::layered(own, &dot_env).unwrap();
        assert_eq!((env.get("A"), env.get("B"), env.get("C")), (Some("devstack"), Some("own"), None));
    }
}
