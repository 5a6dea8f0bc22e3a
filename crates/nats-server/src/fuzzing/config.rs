//! The configuration file.

use super::MAX_INPUT;

/// The text of a file. What cannot be used is refused with a place that is in the text.
pub fn config(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Fields that open files: what a test does must not depend on what there is.
    let lower = text.to_ascii_lowercase();
    if ["include", "operator", "root"].iter().any(|field| lower.contains(field)) {
        return;
    }
    match crate::conf::read_text(text) {
        // Also whether these settings can work together must be found without a panic.
        Ok(config) => drop(config.options.check()),
        Err(error) => assert!(!error.to_string().is_empty(), "an error that says nothing"),
    }
}
