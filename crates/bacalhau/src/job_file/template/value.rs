//! Values inside a template.

use std::collections::BTreeMap;
use std::fmt;

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// All values that were given.
    Map(&'a BTreeMap<String, String>),
}

impl Value<'_> {
    /// Empty text, zero, false and an empty map count as false.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Text(text) => !text.is_empty(),
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Bool(value) => *value,
            Value::Map(map) => !map.is_empty(),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Map(map) => {
                f.write_str("map[")?;
                for (at, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}:{value}", if at > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}
