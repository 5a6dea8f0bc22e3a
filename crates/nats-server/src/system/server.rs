//! The `server` block of answers and events: who speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::proto::info::COMPATIBLE_VERSION;

/// Who speaks; shared by the loop and the desk.
pub(crate) struct ServerBlock {
    pub(super) name: Arc<str>,
    pub(super) host: String,
    pub(super) id: Arc<str>,
    /// Numbers what the server says.
    seq: AtomicU64,
}

/// The block as it is written.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
    ver: &'static str,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: String,
}

impl ServerBlock {
    pub(crate) fn new(id: Arc<str>, name: Arc<str>, host: String) -> ServerBlock {
        ServerBlock { name, host, id, seq: AtomicU64::new(0) }
    }

    /// The server's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The block with the next number.
    pub(super) fn next(&self, time: String) -> Written<'_> {
        Written {
            name: &self.name,
            host: &self.host,
            id: &self.id,
            ver: COMPATIBLE_VERSION,
            jetstream: false,
            flags: 0,
            seq: self.seq.fetch_add(1, Relaxed) + 1,
            time,
        }
    }

    /// The block alone, as JSON.
    pub(crate) fn alone(&self, time: String) -> Vec<u8> {
        written(&self.next(time))
    }
}

/// JSON. Strings and numbers into a vector cannot fail; an empty document would still be readable.
pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}
