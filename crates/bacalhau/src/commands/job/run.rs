//! `job run`.

use super::explain;
use super::submission;
use crate::commands::submit::{print_dry_run, submit_and_follow};
use crate::context::Context;
use crate::failure::Outcome;
use crate::job_file::{self, JobFile};
use crate::output::Paint;
use crate::progress::RunArgs;
use bacalhau_model::Error;
use std::path::PathBuf;

/// Flags of `job run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job run job.yaml\n  \
    cat job.yaml | bacalhau job run --id-only\n  \
    bacalhau job run job.yaml -V region=eu -E '^TEAM_' --dry-run\n\n\
    A small job file:\n  \
    Name: hello\n  Type: batch\n  Tasks:\n  - Name: main\n    Engine:\n      Type: docker\n      Params:\n        \
    Image: ubuntu:latest\n        Parameters: [echo, hello]")]
pub(crate) struct JobRunArgs {
    /// The job, or several with --- between them, as YAML or JSON [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not submit; show what would change, or the job itself when the server cannot say
    #[arg(long)]
    dry_run: bool,
    /// Submit even when the same job is stored already
    #[arg(long)]
    force: bool,
    /// Do not show the server's warnings
    #[arg(long)]
    hide_warnings: bool,
    /// Take the file as it is, without filling in {{.names}}
    #[arg(long)]
    no_template: bool,
    /// Value for a name in the file; may be repeated
    #[arg(long, short = 'V', value_name = "NAME=VALUE")]
    template_vars: Vec<String>,
    /// Take environment variables whose names match this pattern as values; * for all
    #[arg(long, short = 'E', value_name = "REGEX", default_value = "", hide_default_value = true)]
    template_envs: String,
    #[command(flatten)]
    run: RunArgs,
}

/// Submits a job file and follows it.
pub(super) async fn run(context: &Context, args: JobRunArgs) -> Outcome {
    let client = context.client()?;
    let mut files = read(context, &args)?;
    let JobFile { job, warnings } = match files.pop() {
        Some(last) if !files.is_empty() => {
            files.push(last);
            let flags = submission::Flags {
                dry_run: args.dry_run,
                force: args.force,
                hide_warnings: args.hide_warnings,
                run: &args.run,
            };
            return submission::run(context, &client, files, flags).await;
        }
        one => one.unwrap_or_default(),
    };
    if !args.hide_warnings && !args.run.id_only {
        context.out.warnings(&warnings);
    }
    if args.dry_run {
        return match client.diff(&job).await {
            Ok(answer) => {
                context.out.warnings(if args.hide_warnings { &[] } else { &answer.warnings });
                show_diff(context, &answer.diff)?;
                explain::dry_run(context, &client, &job).await
            }
            Err(error) => {
                offline(context, &error);
                print_dry_run(&context.out, &job)?;
                explain::dry_run(context, &client, &job).await
            }
        };
    }
    submit_and_follow(context, &client, job, args.force, args.hide_warnings, &args.run).await
}

fn read(context: &Context, args: &JobRunArgs) -> Result<Vec<JobFile>, Error> {
    let bytes = job_file::read(&context.out, args.file.as_deref())?;
    if args.no_template {
        return job_file::parse(&bytes, None);
    }
    let environment = context.environment.all().clone().into_iter();
    let values = job_file::variables(&args.template_vars, &args.template_envs, environment)?;
    job_file::parse(&bytes, Some(&values))
}

pub(super) fn offline(context: &Context, error: &Error) {
    let out = &context.out;
    if error.http_status() == 404 {
        return out.note("This is a new job. It would be sent as:");
    }
    let label = Paint::Red.apply(out.error_colour, "Error: ");
    out.note(&format!("{label}failed to fetch Job spec: {}", error.message));
    out.warning("falling back to offline mode, printing the job as it would be sent");
}

pub(super) fn show_diff(context: &Context, diff: &str) -> Outcome {
    if diff.trim().is_empty() {
        context.out.warning("No diff detected.");
        return Ok(());
    }
    for line in diff.lines() {
        let paint = match line.chars().next() {
            Some('+') => Some(Paint::Green),
            Some('-') => Some(Paint::Red),
            _ => None,
        };
        let shown = paint.map_or_else(|| line.to_owned(), |p| p.apply(context.out.colour, line));
        context.out.line(&shown)?;
    }
    Ok(())
}
