//! The configuration file format of NATS servers, for programs that take their settings from such a file.
//!
//! Everything that [`Options`] has can be set. Fields that other NATS servers know and this one cannot honour (clusters,
//! gateways, MQTT, ...) are refused and not ignored, and so are fields that nobody knows. Two features are left out with
//! a warning, as many files have them that do not need them: JetStream, whose clients are told that nobody responds, and
//! a listener for leaf nodes (but not a link to another server).
//!
//! # Differences to the Go server
//! - Numbers may stand directly before `]`, absolute paths may be included, a key may touch the `{` after it.
//! - `2m` without quotes is refused where a time is wanted: it is two millions.
//! - Numbers beyond 64 bits, ports above 65535, an empty allow list, a password without a user, a `tls` block without a
//!   certificate, a `websocket` block with neither `tls` nor `no_tls` and a `resolver_preload` without an operator are
//!   refused. There they are bent, ignored, or found when the server starts.
//! - The text must be UTF-8. Files, nesting and includes are bounded.
//!
//! # Inside
//! `lex` makes tokens, `parse` the tree of `value`, with places; `read` and those beside it (one per block) make options
//! of the tree through `fields`.

mod accounts;
mod address;
mod authorization;
mod duration;
mod error;
mod fields;
mod left_out;
mod lex;
mod number;
mod operator;
mod parse;
mod permissions;
mod read;
#[cfg(test)]
mod tests;
mod tls;
mod users;
mod value;
mod websocket;

use std::path::{Path, PathBuf};

pub use error::{ConfError, Place};

use crate::options::Options;

/// A configuration file's content.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Settings of the server.
    pub options: Options,
    /// Where to log; `None`: to standard error.
    pub log_file: Option<PathBuf>,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// In which folder to say which ports were chosen.
    pub ports_file_dir: Option<PathBuf>,
    /// Log what helps to find faults.
    pub debug: bool,
    /// Log more than that.
    pub trace: bool,
    /// Log lines have a time. Default true.
    pub log_time: bool,
    /// What the file asks for and the server will not do, with the place; for the log.
    pub warnings: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            // As everybody who writes such a file expects.
            options: Options { account_services: true, ..Options::default() },
            log_file: None,
            pid_file: None,
            ports_file_dir: None,
            debug: false,
            trace: false,
            log_time: true,
            warnings: Vec::new(),
        }
    }
}

/// Reads a configuration file. Variables (`$NAME`) that it does not set come from the environment of the process.
///
/// # Errors
/// What cannot be read, is not right or is not supported, with the place in the file. Values are not shown where they
/// may be secrets. Contradictions between options that the file format does not forbid are found by
/// [`Server::start`](crate::Server::start).
pub fn load(path: impl AsRef<Path>) -> Result<ServerConfig, ConfError> {
    let path = path.as_ref();
    let map = parse::file(path, &|name| std::env::var(name).ok())?;
    if map.is_empty() {
        return Err(ConfError::Empty { path: path.to_owned() });
    }
    read::config(&map)
}

/// Reads a text as if it were a file. Variables that it does not set are `1m`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_text(text: &str) -> Result<ServerConfig, ConfError> {
    read::config(&parse::text(text, Path::new("fuzz.conf"), &|_| Some("1m".to_owned()))?)
}
