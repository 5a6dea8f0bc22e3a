//! The parameters of a request to monitoring.

use super::MAX_INPUT;

/// The part of a URI after the question mark.
pub fn parameters(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    if let Ok(text) = std::str::from_utf8(data) {
        crate::monitor::try_parameters(text);
    }
}
