//! Short forms on the command line for parts of a job: inputs, outputs, publishers, labels, environment.
//!
//! Pure text in, parts of a job out; nothing here looks at files or servers.

mod csv_fields;
pub(crate) mod input;
pub(crate) mod pairs;
pub(crate) mod publisher;

pub(crate) use input::parse_input;
pub(crate) use publisher::parse_publisher;
