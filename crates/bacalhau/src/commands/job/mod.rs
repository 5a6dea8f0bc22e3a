//! `job`: submit, watch and manage jobs.

mod delete;
mod describe;
mod executions;
pub(crate) mod explain;
mod get;
mod history;
mod list;
mod logs;
mod related;
mod rerun;
mod run;
mod stop;
mod submission;
mod validate;
mod versions;

pub(crate) use related::tell_schedule;

use crate::context::Context;
use crate::failure::Outcome;

/// Commands of `job`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Delete the record of finished jobs
    Delete(delete::DeleteArgs),
    /// Show everything about a job
    Describe(describe::DescribeArgs),
    /// List the executions of a job
    Executions(executions::ExecutionsArgs),
    /// Say for every node why the job runs there or not
    Explain(explain::ExplainArgs),
    /// Download the results of a job
    Get(get::GetArgs),
    /// List what happened to a job
    History(history::HistoryArgs),
    /// List jobs
    List(list::JobListArgs),
    /// Show what a job prints
    Logs(logs::LogsArgs),
    /// Run a job again, as a new version
    Rerun(rerun::RerunArgs),
    /// Submit a job from a file or standard input
    Run(run::JobRunArgs),
    /// Stop a job
    Stop(stop::StopArgs),
    /// Check a job file without a server
    Validate(validate::ValidateArgs),
    /// List the versions of a job
    Versions(versions::VersionsArgs),
}

/// Which job: what most commands of this group ask for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct JobArg {
    /// Name, ID or unique beginning of an ID
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Namespace in which a name is looked up
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Delete(args) => delete::run(context, args).await,
        Verb::Describe(args) => describe::run(context, args).await,
        Verb::Executions(args) => executions::run(context, args).await,
        Verb::Explain(args) => explain::run(context, args).await,
        Verb::Get(args) => get::run(context, args).await,
        Verb::History(args) => history::run(context, args).await,
        Verb::List(args) => list::run(context, args).await,
        Verb::Logs(args) => logs::run(context, args).await,
        Verb::Rerun(args) => rerun::run(context, args).await,
        Verb::Run(args) => run::run(context, args).await,
        Verb::Stop(args) => stop::run(context, args).await,
        Verb::Validate(args) => validate::run(context, &args),
        Verb::Versions(args) => versions::run(context, args).await,
    }
}
