//! Whole clusters, each from its seed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::panic)]

mod commit_points;
mod known_bugs;
mod seeds;
