//! What inputs and publishers have in common: one CSV record of `uri`, `target=...` and `opt=name=value` fields.

use crate::output::csv;

/// The fields of a short form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The first field without a name, or `src=`.
    pub(super) uri: String,
    /// True when the URI was a bare first field, whose end may name the target.
    pub(super) bare: bool,
    /// `dst=`, `target=`, `destination=`.
    pub(super) target: Option<String>,
    /// `opt=name=value`, in order.
    pub(super) options: Vec<(String, String)>,
}

/// Splits a short form. `what` names it in errors: `storage` or `publisher`.
pub(super) fn parse(text: &str, what: &str) -> Result<Fields, String> {
    if text.trim().is_empty() {
        return Err(format!("empty {what}: write it as scheme://address"));
    }
    let mut fields = Fields::default();
    for (at, field) in csv::parse_record(text)?.into_iter().enumerate() {
        let invalid = || format!("invalid {what} option: {field}. Must be a key=value pair");
        let (key, value) = match field.split_once('=') {
            // A URL may carry a query; only a word before the first `=` is a key.
            Some((key, value)) if !(at == 0 && key.contains("://")) => (key, value),
            _ if at == 0 => {
                fields.uri = clean(&field);
                fields.bare = true;
                continue;
            }
            _ => return Err(invalid()),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "src" | "source" => fields.uri = clean(value),
            "dst" | "target" | "destination" => fields.target = Some(clean(value)),
            "opt" | "option" => {
                let (name, value) = value.split_once('=').ok_or_else(invalid)?;
                fields.options.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("unexpected key {key} in field {field}")),
        }
    }
    if fields.uri.is_empty() {
        return Err(format!(
            "the {what} {text:?} does not say where: begin with scheme://address or src=..."
        ));
    }
    Ok(fields)
}

/// Without spaces and quotes around it.
fn clean(text: &str) -> String {
    text.trim_matches([' ', '"', '\'']).to_owned()
}
