//! What can be wrong with a configuration file. No message contains a value that may be a secret.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// A file could not be read.
    #[error("cannot read {}: {source}; check the path and who may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file has nothing in it.
    #[error("{}: config has no values or is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The text breaks the rules of the format, or a limit on its size.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// What was found and what was expected.
        problem: String,
    },
    /// A field that no NATS server has here.
    #[error("{place}: unknown field {field:?}")]
    UnknownField {
        /// Where.
        place: Place,
        /// Its name.
        field: String,
    },
    /// A field that other NATS servers have and this one does not.
    #[error("{place}: {field:?} is not supported by this server; remove it")]
    Unsupported {
        /// Where.
        place: Place,
        /// Its name, and what of it.
        field: String,
    },
    /// A value of the wrong kind, out of range, or in contradiction to another.
    #[error("{place}: {field}: {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The field.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
}
