//! `job logs`.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::logs::{Format, Printer, show};
use bacalhau_api::client::LogQuery;
use bacalhau_model::{Error, Time};
use std::time::SystemTime;

/// Flags of `job logs`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job logs j-51225160                 all executions of the latest version\n  \
    bacalhau job logs my-job --follow            go on until the job ends\n  \
    bacalhau job logs my-job --tail=100 -f       the last 100 lines of each execution, and what follows\n  \
    bacalhau job logs my-job --since 10m --timestamps\n  \
    bacalhau job logs my-job --execution-id e-6e4f2db9-0f2c-4b7c-9a55-7d2f0c1f6b1e\n\n\
    What the job writes to its standard error goes to standard error.")]
pub(crate) struct LogsArgs {
    /// Name, ID or unique beginning of an ID
    #[arg(value_name = "JOB", required = true, num_args = 1..=2)]
    job: Vec<String>,
    /// Namespace in which a name is looked up
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    namespace: String,
    /// Full ID of one execution [default: all]
    #[arg(long, short = 'e', value_name = "ID", default_value = "", hide_default_value = true)]
    execution_id: String,
    /// Go on until the job ends; executions that start meanwhile join in
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the last N lines of each execution; without a number only what is printed from now on
    #[arg(long, short = 't', value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tail: Option<String>,
    /// Only what was printed since then: a time such as 2026-01-02T15:04:05Z, or a duration such as 10m
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Show when each line was printed
    #[arg(long)]
    timestamps: bool,
    /// Do not say before each line whose it is
    #[arg(long)]
    no_prefix: bool,
    /// Version of the job; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
    /// Executions of all versions of the job
    #[arg(long)]
    all_versions: bool,
    /// Also attempts that were followed by others
    #[arg(long)]
    all_attempts: bool,
    /// Output format: text, or json for one object per line
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

/// Which part of the end is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Everything,
    FromNow,
    Last(u64),
}

fn since(text: &str) -> Result<Time, String> {
    if let Ok(time) = Time::parse(text) {
        return Ok(time);
    }
    let ago = bacalhau_config::duration::parse(text)
        .ok_or("write a time like 2026-01-02T15:04:05Z or a duration like 90s, 10m or 1h30m")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let then = now.saturating_sub(ago);
    Ok(Time::from_unix_nanos(i64::try_from(then.as_nanos()).unwrap_or(i64::MAX)))
}

impl LogsArgs {
    /// The job and what is wanted of the end. `--tail 5 JOB` is written like this by users of other programs, although
    /// the number belongs behind an equals sign here.
    fn job_and_tail(&self) -> Result<(&str, Tail), Error> {
        let number = |text: &str| text.parse::<u64>().ok();
        let tail = match self.tail.as_deref() {
            None | Some("false" | "False" | "FALSE" | "f" | "F") => Tail::Everything,
            Some("true" | "True" | "TRUE" | "t" | "T") => Tail::FromNow,
            Some(text) => Tail::Last(number(text).ok_or_else(|| {
                fail(format!("invalid value '{text}' for --tail")).hint("Give a number of lines: --tail=100")
            })?),
        };
        match (self.job.as_slice(), tail) {
            ([job], tail) => Ok((job, tail)),
            ([first, second], Tail::FromNow) => match (number(first), number(second)) {
                (Some(lines), _) => Ok((second, Tail::Last(lines))),
                (None, Some(lines)) => Ok((first, Tail::Last(lines))),
                (None, None) => Err(one_job()),
            },
            _ => Err(one_job()),
        }
    }
}

fn one_job() -> Error {
    fail("the logs of one job are shown at a time")
        .hint("Name one job; a number of lines is written --tail=100")
}

/// Shows the output of a job's executions.
pub(super) async fn run(context: &Context, args: LogsArgs) -> Outcome {
    let (job, tail) = args.job_and_tail()?;
    let last_lines = if let Tail::Last(lines) = tail { Some(lines) } else { None };
    let query = LogQuery {
        namespace: args.namespace.clone(),
        version: args.version,
        execution_id: args.execution_id.clone(),
        tail: tail == Tail::FromNow,
        follow: args.follow,
        all_executions: args.execution_id.is_empty(),
        all_attempts: args.all_attempts,
        all_versions: args.all_versions,
        last_lines,
        since: args.since,
        timestamps: args.timestamps || args.output == "json",
        ..LogQuery::default()
    };
    let format = Format {
        timestamps: args.timestamps,
        no_prefix: args.no_prefix,
        json: args.output == "json",
        last_lines,
    };
    let mut printer = Printer::new(context.out, format);
    let client = context.client()?;
    show(&client, job, &query, &mut printer, true).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: LogsArgs,
    }

    fn parse(line: &[&str]) -> Result<(String, Tail), String> {
        let args = Line::try_parse_from(["logs"].iter().chain(line)).map_err(|e| e.to_string())?.args;
        args.job_and_tail().map(|(job, tail)| (job.to_owned(), tail)).map_err(|e| e.message)
    }

    #[test]
    fn tails_of_all_kinds() {
        let job = |tail| Ok(("j".to_owned(), tail));
        assert_eq!(parse(&["j"]), job(Tail::Everything));
        assert_eq!(parse(&["j", "--tail=false"]), job(Tail::Everything));
        for now in [&["j", "--tail"][..], &["-t", "j"], &["--tail=true", "j"]] {
            assert_eq!(parse(now), job(Tail::FromNow), "{now:?}");
        }
        for last in [&["j", "--tail=7"][..], &["--tail", "7", "j"], &["j", "-t", "7"]] {
            assert_eq!(parse(last), job(Tail::Last(7)), "{last:?}");
        }
        for wrong in [&["j", "k"][..], &["j", "k", "--tail"], &["j", "--tail=x"], &["j", "7"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_and_durations() {
        assert_eq!(since("1970-01-01T00:00:01Z").unwrap().unix_nanos(), 1_000_000_000);
        let ago = since("1h").unwrap();
        let now = since("0").unwrap();
        let hour = now.unix_nanos() - ago.unix_nanos();
        assert!((3_599_000_000_000..3_601_000_000_000).contains(&hour));
        assert!(since("yesterday").is_err());
    }
}
