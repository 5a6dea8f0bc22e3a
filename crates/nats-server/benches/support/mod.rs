//! What the benches share, and the tests of hostile clients: servers to measure, and clients that cost little.
#![allow(dead_code, reason = "each user has a use for some of it")]

pub mod attackers;
pub mod client;
pub mod crowd;
pub mod processors;
pub mod returning;
pub mod servers;

/// Anything that can go wrong ends the run.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
