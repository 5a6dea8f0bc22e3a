//! A state with the message and details that explain it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `{"StateType": ..., "Message": ..., "Details": {...}}`, used for jobs and for both states of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[serde(bound(deserialize = "T: Default + Deserialize<'de>"))]
pub struct State<T> {
    /// The state itself.
    pub state_type: T,
    /// Why, in words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machine-readable details.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl<T> State<T> {
    /// A state without explanation.
    pub fn new(state_type: T) -> State<T> {
        State { state_type, message: String::new(), details: BTreeMap::new() }
    }

    /// A state with its message.
    pub fn with_message(state_type: T, message: impl Into<String>) -> State<T> {
        State { state_type, message: message.into(), details: BTreeMap::new() }
    }
}
