//! Errors of the command line in the words that users and scripts of Bacalhau 1.9 know.

use crate::failure::fail;
use bacalhau_model::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A parse error for people. Help and version requests are no errors and must not come here.
pub(crate) fn explain(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(many)) => Some(many.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let flag = flag_name(&argument);
    let explained = match error.kind() {
        ErrorKind::UnknownArgument => {
            let name = argument.split('=').next().unwrap_or_default().to_owned();
            if name.starts_with("--") {
                fail(format!("unknown flag: {name}"))
            } else if let Some(letter) = name.strip_prefix('-') {
                fail(format!("unknown shorthand flag: '{letter}' in -{letter}"))
            } else {
                fail(format!("unknown argument {name:?}"))
            }
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            fail(format!("unknown command {word:?}"))
                .hint("Run 'bacalhau --help' for the commands there are.")
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_some_and(|v| v.is_empty()) => {
            fail(format!("flag needs an argument: {flag}"))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let why = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
            fail(format!("invalid argument {value:?} for {flag:?} flag{why}"))
        }
        ErrorKind::MissingRequiredArgument => {
            let (message, names) = missing(&argument);
            fail(message).hint(format!("give {names}; see --help for an example"))
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            fail(format!("{} and {} cannot be used together", flag, flag_name(&other)))
        }
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            fail(format!("wrong number of values for {flag}"))
        }
        ErrorKind::NoEquals => fail(format!("{flag} takes its value after an equals sign")),
        _ => fail(plain(&error.to_string())),
    };
    let similar = text(ContextKind::SuggestedArg).or_else(|| text(ContextKind::SuggestedSubcommand));
    match similar {
        Some(similar) => explained.hint(format!("Did you mean this? {similar}")),
        None => explained,
    }
}

/// `--name <NAME>` to `--name`.
fn flag_name(argument: &str) -> String {
    argument.split([' ', '[', '=']).next().unwrap_or_default().to_owned()
}

/// The original counts positional arguments; flags are named.
fn missing(arguments: &str) -> (String, String) {
    let names: Vec<&str> = arguments.split(", ").filter(|n| !n.is_empty()).collect();
    let positional = names.iter().all(|n| n.starts_with('<') || n.starts_with('['));
    let many = names.iter().any(|n| n.ends_with("..."));
    let message = match (positional, many) {
        (false, _) => format!("required flag(s) not set: {arguments}"),
        (true, true) => "requires at least 1 arg(s), only received 0".to_owned(),
        (true, false) => format!("accepts {} arg(s), received 0", names.len()),
    };
    (message, names.join(" "))
}

/// Clap's own text without its prefix and usage lines.
fn plain(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.split("\n\nUsage:").next().unwrap_or(text).trim().to_owned()
}
