//! Values as the kinds that fields want. A value of another kind is refused, and never shown: it may be a secret that was
//! written without quotes.

use std::time::Duration;

use super::duration;
use super::error::{ConfError, Place};
use super::value::{Field, Map, Node, Value};

/// A field being read: its name as written and in lower case, which is how names are compared.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) key: &'a str,
    pub(super) name: String,
    pub(super) node: &'a Node,
    is_variable: bool,
}

impl<'a> Item<'a> {
    fn new(field: &'a Field) -> Item<'a> {
        Item {
            key: &field.key,
            name: field.key.to_ascii_lowercase(),
            node: &field.node,
            is_variable: field.is_variable,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.node.place
    }

    /// The error that this field's value is not right.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> ConfError {
        wrong(self.place(), self.key, problem)
    }

    fn expected(&self, what: &str) -> ConfError {
        self.wrong(format!("expected {what}, found {}", self.node.value.kind()))
    }

    /// The error that this server cannot do this.
    pub(super) fn unsupported(&self) -> ConfError {
        ConfError::Unsupported { place: self.place().clone(), field: self.key.to_owned() }
    }

    /// What to do with a field that is not known: nothing, if it is a variable.
    pub(super) fn unknown(&self) -> Result<(), ConfError> {
        if self.is_variable {
            return Ok(());
        }
        Err(ConfError::UnknownField { place: self.place().clone(), field: self.key.to_owned() })
    }

    /// The same field with another value, for those that take a value or a list of them.
    pub(super) fn with(&self, node: &'a Node) -> Item<'a> {
        Item { key: self.key, name: self.name.clone(), node, is_variable: false }
    }

    pub(super) fn text(&self) -> Result<&'a str, ConfError> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Map(_) | Value::List(_) => Err(self.expected("a text")),
            other => Err(self.wrong(format!("expected a text, found {}; put it into quotes", other.kind()))),
        }
    }

    pub(super) fn owned(&self) -> Result<String, ConfError> {
        self.text().map(str::to_owned)
    }

    pub(super) fn boolean(&self) -> Result<bool, ConfError> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.expected("true or false (without quotes)")),
        }
    }

    pub(super) fn integer(&self) -> Result<i64, ConfError> {
        match self.node.value {
            Value::Integer { value, .. } => Ok(value),
            _ => Err(self.expected("a whole number (without quotes)")),
        }
    }

    /// A number of at least zero; zero asks for the default, which is `None`.
    pub(super) fn count<T: TryFrom<i64>>(&self) -> Result<Option<T>, ConfError> {
        let value = self.integer()?;
        if value == 0 {
            return Ok(None);
        }
        match T::try_from(value) {
            Ok(count) if value > 0 => Ok(Some(count)),
            _ => Err(self.wrong(format!("{value} is out of range"))),
        }
    }

    pub(super) fn map(&self) -> Result<&'a Map, ConfError> {
        match &self.node.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.expected("a map ({ ... })")),
        }
    }

    pub(super) fn list(&self) -> Result<&'a [Node], ConfError> {
        match &self.node.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.expected("a list ([ ... ])")),
        }
    }

    /// The fields of the map that this is.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Item<'a>>, ConfError> {
        self.map().map(items)
    }

    /// A text, or a list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, ConfError> {
        match &self.node.value {
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(nodes) => nodes.iter().map(|node| self.with(node).owned()).collect(),
            _ => Err(self.expected("a text or a list of texts")),
        }
    }

    /// A time such as `10s`; may be negative where that has a meaning.
    pub(super) fn signed_duration(&self) -> Result<(Duration, bool), ConfError> {
        let text = self.text().map_err(|_| self.expected("a time in quotes such as \"10s\""))?;
        duration::parse(text).ok_or_else(|| {
            self.wrong("is not a time; times look like \"500ms\", \"10s\" or \"1h30m\"".to_owned())
        })
    }

    /// A time such as `10s`, or a number of seconds.
    pub(super) fn duration(&self) -> Result<Duration, ConfError> {
        let negative = || self.wrong("must not be below zero");
        match self.node.value {
            Value::Integer { unit: true, .. } => Err(self.wrong(
                "is a number with a unit of size; minutes need quotes, \"2m\" is a time and 2m are two millions",
            )),
            Value::Integer { value, .. } => {
                u64::try_from(value).map(Duration::from_secs).map_err(|_| negative())
            }
            Value::Float(value) => Duration::try_from_secs_f64(value).map_err(|_| self.wrong("is out of range")),
            _ => match self.signed_duration()? {
                (duration, false) => Ok(duration),
                (_, true) => Err(negative()),
            },
        }
    }

    /// A time above zero; zero asks for the default, which is `None`.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, ConfError> {
        self.duration().map(|duration| (!duration.is_zero()).then_some(duration))
    }
}

/// The fields of a map in the order of the file.
pub(super) fn items(map: &Map) -> impl Iterator<Item = Item<'_>> {
    map.fields().map(Item::new)
}

pub(super) fn wrong(place: &Place, field: &str, problem: impl Into<String>) -> ConfError {
    ConfError::Value { place: place.clone(), field: field.to_owned(), problem: problem.into() }
}
