//! The output of a job as people and scripts read it: `job logs`, and `--follow` of the commands that start jobs.

mod assemble;
mod printer;
mod read;
mod results;

pub(crate) use printer::{Format, Printer};
pub(crate) use read::{Shown, show};
