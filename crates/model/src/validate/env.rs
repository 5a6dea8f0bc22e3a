//! Rules for environment variables of a task.

use std::collections::BTreeMap;

/// Names that belong to the system start so.
const RESERVED: &str = "BACALHAU_";

/// The first problem in the order of the names.
pub(super) fn problem(env: &BTreeMap<String, String>) -> Option<String> {
    env.iter().find_map(|(name, value)| {
        let of = |why: &str| Some(format!("environment variable '{name}' {why}"));
        if name.is_empty() {
            return Some("environment variable name cannot be empty".to_owned());
        }
        if name.to_uppercase() != *name {
            return of("must be uppercase");
        }
        if !name.starts_with(char::is_alphabetic) {
            return of("must start with a letter");
        }
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return of("can only contain letters, numbers, and underscores");
        }
        if name.starts_with(RESERVED) {
            return of("cannot start with BACALHAU_");
        }
        if value.is_empty() {
            return of("cannot have empty value");
        }
        None
    })
}
