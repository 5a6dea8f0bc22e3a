//! `job validate`.

use super::submission;
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
    let files = job_file::parse(&bytes, None)?;
    if let [file] = files.as_slice() {
        context.out.warnings(&file.warnings);
        context.out.warnings(&check(file.job.clone())?);
    } else {
        let (jobs, graph) = submission::check_all(&context.out, files, false)?;
        submission::warn_of_outside(&context.out, &jobs, &graph);
    }
    context.out.line("OK")
}
