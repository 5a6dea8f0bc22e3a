//! `job validate`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::job_file;
use crate::job_file::check;
use std::path::PathBuf;

/// Flags of `job validate`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  bacalhau job validate job.yaml")]
pub(crate) struct ValidateArgs {
    /// The job as YAML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks a job file. Templates are not filled in and no server is asked.
pub(super) fn run(context: &Context, args: &ValidateArgs) -> Outcome {
    let bytes = job_file::read(&context.out, Some(&args.file))?;
    let file = job_file::parse(&bytes, None)?;
    context.out.warnings(&file.warnings);
    context.out.warnings(&check(file.job)?);
    context.out.line("OK")
}
