//! Whole clusters, each from its seed.

mod commit_points;
mod known_bugs;
mod seeds;
