//! Notes on keys that the decoder ignored, so that a person can be told of a misspelled one.
//!
//! Only kept on request: messages between programs carry unknown keys on purpose.

use std::cell::RefCell;

/// A key that no field of its struct has; it was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Dotted path of the object that has it, with positions in lists: `Tasks[0].Resources`; empty at the top.
    pub path: String,
    /// The key as it was written.
    pub key: String,
    /// The keys that the object may have.
    pub known: &'static [&'static str],
}

/// Bound on what [`super::from_value_with_unknown`] tells.
pub const MOST_UNKNOWN_FIELDS: usize = 50;

/// Where the decoder is, and what it ignored so far.
#[derive(Default)]
pub(super) struct Notes {
    path: RefCell<Vec<Step>>,
    unknown: RefCell<Vec<UnknownField>>,
}

pub(super) enum Step {
    Field(String),
    Item(usize),
}

impl Notes {
    /// All that was noted.
    pub(super) fn into_unknown(self) -> Vec<UnknownField> {
        self.unknown.into_inner()
    }

    /// Notes a key of the object that is being decoded.
    pub(super) fn ignored(&self, key: &str, known: &'static [&'static str]) {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.len() < MOST_UNKNOWN_FIELDS {
            unknown.push(UnknownField { path: self.path(), key: key.to_owned(), known });
        }
    }

    fn path(&self) -> String {
        let mut text = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => text.extend([".", name]),
                Step::Item(position) => text.push_str(&format!("[{position}]")),
            }
        }
        text
    }

    /// Runs `decode` one step further down.
    pub(super) fn within<T>(
        notes: Option<&Notes>,
        step: impl FnOnce() -> Step,
        decode: impl FnOnce() -> T,
    ) -> T {
        let Some(notes) = notes else { return decode() };
        notes.path.borrow_mut().push(step());
        let result = decode();
        notes.path.borrow_mut().pop();
        result
    }
}
