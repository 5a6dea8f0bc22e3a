//! Values from environment variables: `BACALHAU_<KEY>` and two older names.

use crate::keys::{self, KEYS, Key};
use crate::load::invalid;
use crate::value::Value;
use bacalhau_model::Error;
use std::collections::BTreeMap;

/// Older names. The full ones win over them.
const ALIASES: [(&str, &str); 2] = [("BACALHAU_DIR", "DataDir"), ("LOG_LEVEL", "Logging.Level")];

/// Variables that look like keys but are read by other parts of the program; a final `_` stands for all that follows.
const OTHERS: [&str; 7] =
    ["DIR", "PROFILE", "API_KEY", "API_USERNAME", "API_PASSWORD", "UPDATE_CHECKER_", "SIM_"];

/// What is set there, with the name of the variable; later ones win. Empty variables count as unset.
pub(crate) fn values(
    environment: &BTreeMap<String, String>,
) -> Result<Vec<(&'static Key, Value, String)>, Error> {
    let aliases = ALIASES.iter().filter_map(|(name, path)| Some(((*name).to_owned(), keys::find(path)?)));
    let mut found = Vec::new();
    for (name, key) in aliases.chain(KEYS.iter().map(|key| (key.env(), key))) {
        if let Some(text) = environment.get(&name).filter(|text| !text.is_empty()) {
            let value = Value::from_text(key, text)
                .map_err(|why| invalid(format!("environment variable {name}: {why}")))?;
            found.push((key, value, name));
        }
    }
    Ok(found)
}

/// A warning for each variable that looks like a key and is none: a typo there would pass unnoticed.
pub(crate) fn warnings(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment.keys().filter(|name| is_unknown(name)).map(|name| warning(name)).collect()
}

fn is_unknown(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("BACALHAU_") else { return false };
    let is_other = |other: &&str| rest == *other || (other.ends_with('_') && rest.starts_with(*other));
    let first = rest.split('_').next().unwrap_or_default();
    let is_section =
        KEYS.iter().any(|k| k.path.split('.').next().is_some_and(|s| s.eq_ignore_ascii_case(first)));
    is_section && !OTHERS.iter().any(is_other) && !KEYS.iter().any(|k| k.env() == name)
}

fn warning(name: &str) -> String {
    let dotted = name.trim_start_matches("BACALHAU_").replace('_', ".");
    let hint = match keys::similar(&dotted).and_then(keys::find) {
        Some(key) => format!("; did you mean {}?", key.env()),
        None => String::new(),
    };
    format!("environment variable {name} is no configuration key and is ignored{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_key_has_a_variable_and_the_older_names_lose() {
        let all: BTreeMap<String, String> = KEYS.iter().map(|k| (k.env(), String::new())).collect();
        assert_eq!(all.len(), KEYS.len(), "no two keys share a variable");
        assert!(values(&all).unwrap().is_empty() && warnings(&all).is_empty());
        let found = values(&environment(&[
            ("BACALHAU_DIR", "/a"),
            ("BACALHAU_DATADIR", "/b"),
            ("LOG_LEVEL", "warn"),
        ]));
        let found: Vec<String> = found
            .unwrap()
            .iter()
            .map(|(key, value, name)| format!("{} {} {name}", key.path, value.display()))
            .collect();
        assert_eq!(
            found,
            ["DataDir /a BACALHAU_DIR", "Logging.Level warn LOG_LEVEL", "DataDir /b BACALHAU_DATADIR"]
        );
    }

    #[test]
    fn lists_and_maps_are_split() {
        let found = values(&environment(&[
            ("BACALHAU_COMPUTE_ORCHESTRATORS", "a,b"),
            ("BACALHAU_LABELS", "Region=x,k=v"),
            ("BACALHAU_JOBADMISSIONCONTROL_LOCALITY", "Local"),
        ]))
        .unwrap();
        let mut shown: Vec<String> = found.iter().map(|(_, value, _)| value.display()).collect();
        shown.sort();
        assert_eq!(shown, ["[a b]", "local", "map[Region:x k:v]"]);
    }

    #[test]
    fn mistakes() {
        let error = values(&environment(&[("BACALHAU_API_PORT", "x")])).unwrap_err().message;
        assert_eq!(
            error,
            "environment variable BACALHAU_API_PORT: config key: \"API.Port\" expects an integer value, received: \"x\""
        );
        assert_eq!(
            warnings(&environment(&[
                ("BACALHAU_API_PROT", "x"),
                ("BACALHAU_API_KEY", "x"),
                ("BACALHAU_UPDATE_CHECKER_ENDPOINT", "x"),
                ("BACALHAU_SIM_SEED", "x"),
                ("BACALHAU_PROFILE", "x"),
                ("BACALHAU_SOMETHING_ELSE", "x"),
                ("API_PROT", "x"),
            ])),
            [
                "environment variable BACALHAU_API_PROT is no configuration key and is ignored; did you mean BACALHAU_API_PORT?"
            ]
        );
    }
}
