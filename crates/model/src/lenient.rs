//! Decodes JSON the way Go's decoder does, which clients of Bacalhau 1.9 rely on.
//!
//! Keys of structs match without regard to case, `null` leaves the default, unknown keys are ignored and the last
//! of several equal keys wins. Free-form maps keep their keys. Types are strict: a number is no string and `1.0` is
//! no integer. Errors carry the path of the field.
//!
//! It is a serde deserializer over [`serde_json::Value`], so every `#[derive(Deserialize)]` struct gets these rules
//! without a line of its own. `#[serde(flatten)]` is not supported.

mod unknown;

pub use unknown::{MOST_UNKNOWN_FIELDS, UnknownField};

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use unknown::{Notes, Step};

/// Why a value could not be decoded and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Dotted path of the field, e.g. `Job.Tasks.Name`; empty at the top.
    pub path: String,
    /// What was expected, in Go's words (`string`, `int`, `bool`, ...), or empty when `message` says it all.
    pub expected: String,
    /// What was found (`string`, `number`, `object`, ...).
    pub found: String,
    /// Explanation when the types were right but the value was not.
    pub message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.expected.is_empty(), self.path.is_empty()) {
            (true, true) => f.write_str(&self.message),
            (true, false) => write!(f, "field '{}': {}", self.path, self.message),
            (false, true) => write!(f, "expected {}, found {}", self.expected, self.found),
            (false, false) => {
                write!(f, "field '{}': expected {}, found {}", self.path, self.expected, self.found)
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError {
            path: String::new(),
            expected: String::new(),
            found: String::new(),
            message: message.to_string(),
        }
    }
}

/// Decodes a value.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    T::deserialize(Lenient { value, notes: None })
}

/// Decodes a value and tells which keys were ignored, in the order in which they were met. At most
/// [`MOST_UNKNOWN_FIELDS`] are told.
pub fn from_value_with_unknown<T: DeserializeOwned>(
    value: Value,
) -> Result<(T, Vec<UnknownField>), DecodeError> {
    let notes = Notes::default();
    let decoded = T::deserialize(Lenient { value, notes: Some(&notes) })?;
    Ok((decoded, notes.into_unknown()))
}

/// Decodes JSON text; bytes after the first value are ignored, as Go does.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    match stream.next() {
        Some(Ok(value)) => from_value(value),
        Some(Err(e)) => Err(de::Error::custom(e)),
        None => Err(de::Error::custom("no JSON value")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mismatch(expected: &str, value: &Value) -> DecodeError {
    DecodeError {
        path: String::new(),
        expected: expected.to_owned(),
        found: kind(value).to_owned(),
        message: String::new(),
    }
}

fn at(field: &str, mut error: DecodeError) -> DecodeError {
    error.path = if error.path.is_empty() { field.to_owned() } else { format!("{field}.{}", error.path) };
    error
}

struct Lenient<'n> {
    value: Value,
    notes: Option<&'n Notes>,
}

macro_rules! integer {
    ($method:ident, $visit:ident, $as:ident, $type:ty, $name:literal) => {
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.value.$as().map(<$type>::try_from) {
                Some(Ok(number)) => visitor.$visit(number),
                _ => match &self.value {
                    Value::Number(n) => {
                        Err(DecodeError { found: format!("number {n}"), ..mismatch($name, &self.value) })
                    }
                    other => Err(mismatch($name, other)),
                },
            }
        }
    };
}

impl<'de> de::Deserializer<'de> for Lenient<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::String(s) => visitor.visit_string(s),
            Value::Array(items) => visitor.visit_seq(Items::new(items, self.notes)),
            Value::Object(map) => visitor.visit_map(Entries::keep(map, self.notes)),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(u), _, _) => visitor.visit_u64(u),
                (_, Some(i), _) => visitor.visit_i64(i),
                (_, _, Some(f)) => visitor.visit_f64(f),
                _ => Err(de::Error::custom("number out of range")),
            },
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Entries::of_struct(map, fields, self.notes)),
            Value::Null => visitor.visit_map(Entries::keep(Map::new(), self.notes)),
            other => Err(mismatch("object", &other)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Entries::keep(map, self.notes)),
            Value::Null => visitor.visit_map(Entries::keep(Map::new(), self.notes)),
            other => Err(mismatch("object", &other)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items::new(items, self.notes)),
            Value::Null => visitor.visit_seq(Items::new(Vec::new(), self.notes)),
            other => Err(mismatch("array", &other)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            other => Err(mismatch("string", &other)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Bool(b) => visitor.visit_bool(b),
            other => Err(mismatch("bool", &other)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(s) => visitor.visit_string(s),
            other => Err(mismatch("string", &other)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(mismatch("float64", &self.value)),
        }
    }

    integer!(deserialize_i64, visit_i64, as_i64, i64, "int");
    integer!(deserialize_i32, visit_i32, as_i64, i32, "int");
    integer!(deserialize_u64, visit_u64, as_u64, u64, "uint64");
    integer!(deserialize_u32, visit_u32, as_u64, u32, "uint32");
    integer!(deserialize_u16, visit_u16, as_u64, u16, "uint16");
    integer!(deserialize_u8, visit_u8, as_u64, u8, "uint8");

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, DecodeError> for Lenient<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'n> {
    items: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    notes: Option<&'n Notes>,
}

impl<'n> Items<'n> {
    fn new(items: Vec<Value>, notes: Option<&'n Notes>) -> Items<'n> {
        Items { items: items.into_iter().enumerate(), notes }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let notes = self.notes;
        let Some((position, value)) = self.items.next() else { return Ok(None) };
        Notes::within(notes, || Step::Item(position), || seed.deserialize(Lenient { value, notes })).map(Some)
    }
}

struct Entries<'n> {
    entries: std::vec::IntoIter<(String, Value)>,
    current: Option<(String, Value)>,
    notes: Option<&'n Notes>,
}

impl<'n> Entries<'n> {
    fn keep(map: Map<String, Value>, notes: Option<&'n Notes>) -> Entries<'n> {
        let entries = map.into_iter().collect::<Vec<_>>().into_iter();
        Entries { entries, current: None, notes }
    }

    /// Gives every key the spelling the struct knows, drops nulls and keeps the last of equal keys.
    fn of_struct(
        map: Map<String, Value>,
        fields: &'static [&'static str],
        notes: Option<&'n Notes>,
    ) -> Entries<'n> {
        let mut entries: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let Some(field) = fields
                .iter()
                .find(|f| **f == key)
                .or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)))
            else {
                if let Some(notes) = notes {
                    notes.ignored(&key, fields);
                }
                continue;
            };
            if value.is_null() {
                continue;
            }
            match entries.iter_mut().find(|(known, _)| known == field) {
                Some(entry) => entry.1 = value,
                None => entries.push(((*field).to_owned(), value)),
            }
        }
        Entries { entries: entries.into_iter(), current: None, notes }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        self.current = self.entries.next();
        match &self.current {
            Some((key, _)) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let notes = self.notes;
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("value asked for before its key"));
        };
        let decode = || seed.deserialize(Lenient { value, notes });
        Notes::within(notes, || Step::Field(key.clone()), decode).map_err(|e| at(&key, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        name: String,
        env: BTreeMap<String, String>,
        list: Vec<u64>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Outer {
        inner: Inner,
        count: Option<i64>,
        ratio: f64,
    }

    #[test]
    fn keys_match_in_any_case_and_null_leaves_the_default() {
        let outer: Outer = from_value(json!({
            "INNER": {"name": "a", "Env": {"keepMe": "x"}, "list": null}, "count": null, "ratio": 2, "other": [1]
        }))
        .unwrap();
        assert_eq!(outer.inner.name, "a");
        assert_eq!(outer.inner.env.get("keepMe").unwrap(), "x");
        assert_eq!(outer.count, None);
        assert_eq!(outer.ratio, 2.0);
    }

    #[test]
    fn errors_name_the_field() {
        let error = from_value::<Outer>(json!({"inner": {"list": ["x"]}})).unwrap_err();
        assert_eq!(error.path, "Inner.List");
        assert_eq!((error.expected.as_str(), error.found.as_str()), ("uint64", "string"));
        let error = from_value::<Outer>(json!({"Count": 1.5})).unwrap_err();
        assert_eq!(error.to_string(), "field 'Count': expected int, found number 1.5");
        assert!(from_value::<Outer>(json!([])).is_err());
    }

    #[test]
    fn ignored_keys_are_told() {
        let value = json!({"inner": {"nam": "a", "Env": {"anything": "x"}}, "counts": null});
        let (outer, unknown): (Outer, _) = from_value_with_unknown(value.clone()).unwrap();
        assert_eq!(outer, from_value(value).unwrap());
        let told: Vec<String> = unknown.iter().map(|u| format!("{}|{}", u.path, u.key)).collect();
        assert_eq!(told, ["|counts", "Inner|nam"]);
        assert_eq!(unknown[1].known, ["Name", "Env", "List"]);

        let many: Map<String, Value> = (0..200).map(|n| (format!("x{n}"), json!(n))).collect();
        let (_, unknown): (Outer, _) = from_value_with_unknown(Value::Object(many)).unwrap();
        assert_eq!(unknown.len(), MOST_UNKNOWN_FIELDS);
    }

    #[test]
    fn bytes_after_the_first_value_are_ignored() {
        assert!(from_slice::<Outer>(b"{} trailing").is_ok());
        assert!(from_slice::<Outer>(b"").is_err());
        assert!(from_slice::<Outer>(b"{").is_err());
    }
}
