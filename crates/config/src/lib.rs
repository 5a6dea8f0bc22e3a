//! Configuration: every key once, where its value comes from, and the data folder.
//!
//! - [`keys`]: the table of all keys: type, default, documentation, whether it is a secret.
//! - [`load`]: flags, environment, files and defaults, merged by precedence; every value remembers its origin.
//! - [`edit`]: `config set`.
//! - [`render`]: `config list` and the effective configuration as a document, secrets masked.
//! - [`validate`]: rules that concern more than one value, before a server starts.
//! - [`data_dir`]: the data folder and its metadata.

pub mod address;
pub mod atomic;
pub mod data_dir;
mod document;
pub mod duration;
pub mod edit;
mod environment;
pub mod item;
pub mod keys;
pub mod load;
pub mod render;
pub mod secret;
mod structured;
pub mod validate;
pub mod value;

pub use data_dir::DataDir;
pub use item::Item;
pub use keys::{KEYS, Key, Kind};
pub use load::{Config, Origin, Sources};
pub use value::Value;
