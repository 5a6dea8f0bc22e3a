//! What a user sees while a job runs: event rows, a spinner, or the job's own output.

mod changes;
mod ending;
mod follow;
mod hints;
mod lines;
mod patience;
mod rolling;
mod rows;
mod spinner;
mod watch;

pub(crate) use ending::{End, end};
pub(crate) use hints::{RunArgs, after_submission};
pub(crate) use lines::Lines;
pub(crate) use patience::{Tries, persist};
