//! Fetching published results: download, unpack, merge. Nothing here prints, except progress through a callback.

mod fetch;
mod merge;
mod plan;
mod unpack;

pub(crate) use fetch::fetch;
pub(crate) use merge::merge;
pub(crate) use plan::{Part, plan};
pub(crate) use unpack::{is_archive, stem, unpack, unpack_only};
