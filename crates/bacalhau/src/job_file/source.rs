//! Where job files and template variables come from.

use super::invalid;
use crate::failure::fail;
use crate::output::Out;
use crate::shorthand::pairs;
use bacalhau_model::Error;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Largest job file in bytes; the server refuses much smaller ones.
const MAX_FILE: u64 = 64 << 20;

/// The bytes of a job file, or of standard input when there is no file.
pub(crate) fn read(out: &Out, file: Option<&Path>) -> Result<Vec<u8>, Error> {
    match file {
        Some(path) => {
            let shown = path.display();
            let open = std::fs::File::open(path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    fail(format!("opening job file (\"{shown}\"): open {shown}: no such file or directory"))
                }
                _ => fail(format!("opening job file (\"{shown}\"): {e}")),
            })?;
            limited(open).map_err(|e| fail(format!("reading job file (\"{shown}\"): {e}")))
        }
        None => {
            out.note("Reading from /dev/stdin; send Ctrl-d to stop.");
            limited(std::io::stdin().lock())
                .map_err(|e| fail(format!("reading the job from standard input: {e}")))
        }
    }
}

fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(std::io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Template variables: environment variables whose names match `pattern` (`*` for all), then the given pairs.
pub(crate) fn variables(
    pairs: &[String],
    pattern: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut values = BTreeMap::new();
    if !pattern.is_empty() {
        let pattern = if pattern == "*" { ".*" } else { pattern };
        let regex = regex::Regex::new(pattern)
            .map_err(|e| invalid(format!("failed to compile environment variable pattern: {e}")))?;
        values.extend(environment.filter(|(name, _)| regex.is_match(name)));
    }
    values.extend(pairs::parse_map(pairs).map_err(|e| fail(format!("--template-vars: {e}")))?);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_win() {
        let env = || [("A", "1"), ("B_X", "2")].into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        let show = |pairs: &[&str], pattern| {
            let pairs: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
            variables(&pairs, pattern, env()).map(|v| format!("{v:?}"))
        };
        assert_eq!(show(&["A=9"], "*").unwrap(), r#"{"A": "9", "B_X": "2"}"#);
        assert_eq!(show(&[], "^B").unwrap(), r#"{"B_X": "2"}"#);
        assert_eq!(show(&[], "").unwrap(), "{}");
        assert!(show(&[], "(").unwrap_err().message.contains("failed to compile"));
    }
}
