//! What is said of a program that cannot run as it is: modules and components are refused in the same words. Pure.

use super::error;
use bacalhau_model::Error;

/// Names that an error lists at most.
const MOST_NAMES: usize = 10;

/// It imports what is not there; `kind` says what a name stands for.
pub(super) fn unknown(kind: &str, name: &str) -> Error {
    error(format!("unknown {kind} \"{name}\""))
}

/// Its entrypoint cannot be called.
pub(super) fn takes_parameters(entrypoint: &str) -> Error {
    error(format!("the entrypoint '{entrypoint}' takes parameters; it must be a function without any"))
}

/// It has no such entrypoint; `place` says where it was looked for.
pub(super) fn no_entrypoint(entrypoint: &str, place: &str) -> Error {
    error(format!("unable to find the entrypoint '{entrypoint}' in the {place}"))
}

/// A hint: what there is instead.
pub(super) fn exported<'a>(who: &str, nothing: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().take(MOST_NAMES).collect();
    match names.as_slice() {
        [] => format!("The {who} exports {nothing}"),
        names => format!("The {who} exports: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_short() {
        assert_eq!(exported("module", "no functions", []), "The module exports no functions");
        assert_eq!(exported("component", "nothing", ["a", "b"]), "The component exports: a, b");
        assert_eq!(exported("module", "", ["f"; 99]).matches('f').count(), MOST_NAMES);
    }
}
