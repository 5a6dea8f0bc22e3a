//! Where inputs come from: one file per kind of source, and the registry that finds the right one.
//!
//! A source checks its parameters, tells the size for bidding, and prepares the data for one execution. What it
//! prepares is private to that execution, except host folders that an administrator has allowed. It never runs
//! anything and never writes outside the folder it is given.

mod allowlist;
mod data_url;
mod guest_path;
mod inline;
mod local;
mod unpack;
mod url_download;

pub use allowlist::{Access, PathAllowList};
pub use guest_path::normalise as normalise_guest_path;
pub use inline::Inline;
pub use local::Local;
pub(crate) use unpack::make_folder;
pub use url_download::{DownloadLimits, UrlDownload};

use crate::executor::LazyFolder;
use bacalhau_model::{Error, InputSource, error::code};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// A kind of input.
pub trait Source: Send + Sync {
    /// The names users write, in lower case.
    fn names(&self) -> &'static [&'static str];

    /// Checks the parameters without looking at the data.
    ///
    /// # Errors
    /// Parameters that can never work.
    fn validate(&self, input: &InputSource) -> Result<(), Error>;

    /// True when the data is on this node already.
    fn is_local(&self, input: &InputSource) -> bool;

    /// Bytes the data will take on this node's disk; 0 when that cannot be known.
    fn size<'a>(&'a self, input: &'a InputSource) -> BoxFuture<'a, Result<u64, Error>>;

    /// Makes the data available. `folder` is this input's own and does not exist until asked for its path.
    fn prepare<'a>(
        &'a self,
        input: &'a InputSource,
        folder: LazyFolder,
    ) -> BoxFuture<'a, Result<Mount, Error>>;

    /// The data as one file in memory that nobody will change, if that is what it is: for an archive, its only file at its
    /// place in the target. `None` if it has to be prepared.
    fn file<'a>(&'a self, _input: &'a InputSource) -> BoxFuture<'a, Result<Option<Mount>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Data ready to be shown to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The data.
    pub data: MountData,
    /// Absolute, normalised path inside the task.
    pub target: String,
    /// The task must not change it.
    pub read_only: bool,
}

/// Where the data of a [`Mount`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountData {
    /// A folder on the host.
    Folder(PathBuf),
    /// A file on the host.
    File(PathBuf),
    /// A file that is still in memory; whoever needs it on disk writes it.
    Bytes(Bytes),
}

impl Mount {
    /// True when the target is one file, false when it is a folder.
    pub fn is_file(&self) -> bool {
        !matches!(self.data, MountData::Folder(_))
    }
}

/// The sources this node offers.
#[derive(Clone, Default)]
pub struct Sources {
    list: Vec<Arc<dyn Source>>,
    disabled: Vec<String>,
}

impl Sources {
    /// A registry without the disabled names (compared without regard to case).
    pub fn new(list: Vec<Arc<dyn Source>>, disabled: &[String]) -> Sources {
        Sources { list, disabled: disabled.iter().map(|name| name.trim().to_ascii_lowercase()).collect() }
    }

    /// Offered names, lower case, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .list
            .iter()
            .flat_map(|source| source.names())
            .filter(|name| !self.disabled.iter().any(|d| d == *name))
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        names
    }

    /// The source of an input.
    ///
    /// # Errors
    /// The node does not offer it; the text lists what it offers.
    pub fn get(&self, input: &InputSource) -> Result<&Arc<dyn Source>, Error> {
        let wanted = input.source.r#type.trim().to_ascii_lowercase();
        let found = self.list.iter().find(|source| source.names().contains(&wanted.as_str()));
        found.filter(|_| !self.disabled.contains(&wanted)).ok_or_else(|| {
            let message = format!("this node does not support input source \"{wanted}\"");
            Error::new(code::BAD_REQUEST, message).hint(format!("It offers: {}", self.names().join(", ")))
        })
    }
}

/// An error about parameters of a source.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(code::BAD_REQUEST, message).component("Storage")
}

/// An error while fetching or writing data.
fn failed(message: impl Into<String>) -> Error {
    Error::new(code::INTERNAL_ERROR, message).component("Storage")
}
