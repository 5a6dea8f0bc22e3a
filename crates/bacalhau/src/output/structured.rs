//! JSON and YAML of anything that serialises, as the API spells it.

use super::Out;
use super::yaml;
use crate::failure::{Outcome, fail};
use bacalhau_model::{Error, json};
use serde::Serialize;

/// JSON with a final line end, compact or indented by two spaces.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Result<String, Error> {
    let text = if pretty { json::to_string_pretty(value) } else { json::to_string(value) };
    text.map(|t| t + "\n").map_err(|e| fail(format!("cannot write JSON: {e}")))
}

/// YAML, keys sorted.
pub(crate) fn yaml<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let value = serde_json::to_value(value).map_err(|e| fail(format!("cannot write YAML: {e}")))?;
    Ok(yaml::to_text(&value))
}

/// Format of one thing, as opposed to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            _ => Err("should be one of [\"json\" \"yaml\"]".to_owned()),
        }
    }
}

/// Flags of commands that show one thing.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct OneArgs {
    /// Output format: json or yaml
    #[arg(long, value_name = "FORMAT", value_parser = str::parse::<Format>)]
    pub(crate) output: Option<Format>,
    /// Indent JSON by two spaces
    #[arg(long)]
    pub(crate) pretty: bool,
}

/// Prints one thing as JSON or YAML.
pub(crate) fn print<T: Serialize + ?Sized>(out: &Out, value: &T, format: Format, pretty: bool) -> Outcome {
    let text = match format {
        Format::Json => json(value, pretty)?,
        Format::Yaml => yaml(value)?,
    };
    out.raw(text.as_bytes())
}
