//! The tree that a configuration file is read into. It may hold secrets, so it cannot be printed.

use std::collections::HashMap;

use super::error::Place;

/// A value and where it is; in a map that is the place of its key.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What was written down.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) enum Value {
    Bool(bool),
    Integer {
        value: i64,
        /// Written with a unit of size, such as `2m`. Where a time is wanted that was not meant as two millions.
        unit: bool,
    },
    Float(f64),
    Text(String),
    /// A date in the form `2006-01-02T15:04:05Z`. No field of a server takes one.
    Date(String),
    List(Vec<Node>),
    Map(Map),
}

/// Fields in the order of the file. A key that comes again replaces the value.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Map {
    fields: Vec<Field>,
    positions: HashMap<String, usize>,
}

/// A field of a map.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) node: Node,
    /// Its value was used as a variable, so it need not be a known field.
    pub(super) is_variable: bool,
}

impl Value {
    /// What errors call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Bool(_) => "a boolean",
            Value::Integer { .. } => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "a text",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Roughly the bytes that a copy takes, and the levels of nesting below it. The recursion is as deep as those, which
    /// the parser bounds.
    pub(super) fn measure(&self) -> (usize, usize) {
        let add = |(size, depth): (usize, usize), (more, below): (usize, usize)| {
            (size.saturating_add(more), depth.max(below + 1))
        };
        match self {
            Value::Text(text) | Value::Date(text) => (NODE_SIZE + text.len(), 0),
            Value::List(nodes) => nodes.iter().map(|node| node.value.measure()).fold((NODE_SIZE, 1), add),
            Value::Map(map) => map
                .fields()
                .map(|field| {
                    let (size, depth) = field.node.value.measure();
                    (size.saturating_add(2 * field.key.len()), depth)
                })
                .fold((NODE_SIZE, 1), add),
            _ => (NODE_SIZE, 0),
        }
    }
}

/// Bytes of a node without its texts, rounded up.
pub(super) const NODE_SIZE: usize = 128;

impl Map {
    pub(super) fn insert(&mut self, key: String, node: Node) {
        match self.positions.get(&key).and_then(|at| self.fields.get_mut(*at)) {
            Some(field) => {
                field.node = node;
                field.is_variable = false;
            }
            None => {
                self.positions.insert(key.clone(), self.fields.len());
                self.fields.push(Field { key, node, is_variable: false });
            }
        }
    }

    /// The value of a variable, which is noted as one.
    pub(super) fn variable(&mut self, name: &str) -> Option<&Value> {
        let field = self.positions.get(name).and_then(|at| self.fields.get_mut(*at))?;
        field.is_variable = true;
        Some(&field.node.value)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Takes all fields of another map, as an included file does.
    pub(super) fn extend(&mut self, other: Map) {
        for field in other.fields {
            let (key, is_variable) = (field.key.clone(), field.is_variable);
            self.insert(field.key, field.node);
            if is_variable {
                self.variable(&key);
            }
        }
    }
}

#[cfg(test)]
impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.fields.len() == other.fields.len()
            && self.fields.iter().all(|field| {
                let at = other.positions.get(&field.key);
                at.and_then(|at| other.fields.get(*at)).is_some_and(|f| f.node == field.node)
            })
    }
}

/// Places do not count.
#[cfg(test)]
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn node(value: Value) -> Node {
        Node { place: Place { file: Path::new("x").into(), line: 1, column: 1 }, value }
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_variables_are_noted() {
        let mut map = Map::default();
        map.insert("a".into(), node(Value::Bool(true)));
        map.insert("b".into(), node(Value::Bool(true)));
        map.insert("a".into(), node(Value::Text("x".into())));
        assert!(map.variable("a").is_some() && map.variable("c").is_none());
        let seen: Vec<_> =
            map.fields().map(|f| (f.key.as_str(), f.node.value.kind(), f.is_variable)).collect();
        assert_eq!(seen, [("a", "a text", true), ("b", "a boolean", false)]);
        let mut outer = Map::default();
        outer.extend(map.clone());
        assert!(outer.fields().next().unwrap().is_variable && outer == map);
    }

    #[test]
    fn depth_counts_levels() {
        let list = |inner| Value::List(vec![node(inner)]);
        assert_eq!(Value::Bool(true).measure().1, 0);
        assert_eq!(list(list(Value::Text("abc".into()))).measure(), (3 * NODE_SIZE + 3, 2));
        assert_eq!(Value::List(Vec::new()).measure().1, 1);
    }
}
