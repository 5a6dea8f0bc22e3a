//! A typed, free-form setting: the name of an engine, source or publisher and its parameters.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `{"Type": ..., "Params": {...}}`. Types compare without regard to case; parameters belong to the type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SpecConfig {
    /// Name of the engine, source or publisher; empty means none.
    pub r#type: String,
    /// Parameters, keys as the user wrote them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

impl SpecConfig {
    /// A spec without parameters.
    pub fn new(r#type: impl Into<String>) -> SpecConfig {
        SpecConfig { r#type: r#type.into(), params: Map::new() }
    }

    /// The same spec with one more parameter.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> SpecConfig {
        self.params.insert(key.into(), value.into());
        self
    }

    /// True when no type is set.
    pub fn is_empty(&self) -> bool {
        self.r#type.trim().is_empty()
    }

    /// Compares the type as users may spell it.
    pub fn is_type(&self, name: &str) -> bool {
        self.r#type.trim().eq_ignore_ascii_case(name)
    }

    /// A parameter by name, case-insensitively; the exact spelling wins.
    pub fn param(&self, key: &str) -> Option<&Value> {
        self.params
            .get(key)
            .or_else(|| self.params.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v))
            .filter(|v| !v.is_null())
    }

    /// Decodes all parameters into a type, case-insensitively; unknown ones are ignored.
    pub fn decode_params<T: serde::de::DeserializeOwned>(&self) -> Result<T, crate::lenient::DecodeError> {
        crate::lenient::from_value(Value::Object(self.params.clone()))
    }
}
