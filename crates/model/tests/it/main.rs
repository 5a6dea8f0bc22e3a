//! The crate's parts together, against what Bacalhau 1.9 was recorded to do.

mod submission;
