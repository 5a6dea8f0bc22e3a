//! `node drain`.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use bacalhau_config::duration;
use std::time::Duration;

/// Flags of `node drain`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau node drain n-f1c579e2\n  \
    bacalhau node drain n-f1c579e2 --deadline 10m -m \"new kernel\"\n\n\
    Services and daemons leave at once. Batch and ops executions may finish until the deadline; what is left then is\n\
    stopped and runs elsewhere. `node describe` shows how many are left, `node uncordon` takes the node back.")]
pub(crate) struct DrainArgs {
    /// ID or unique beginning of an ID
    #[arg(value_name = "NODE")]
    node: String,
    /// How long batch and ops executions may go on; 0 stops them at once
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse)]
    deadline: Duration,
    /// Why
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// Asks for the drain and says how much is left.
pub(super) async fn run(context: &Context, args: DrainArgs) -> Outcome {
    let client = context.client()?;
    let answer = client.drain_node(&args.node, args.deadline, &args.message).await?;
    if !answer.success {
        let why = if answer.error.is_empty() { "the server did not say why" } else { &answer.error };
        return Err(fail(format!("could not drain node {}: {why}", args.node)).into());
    }
    let left = client.node(&args.node).await?.drain.map_or(0, |drain| drain.remaining);
    match left {
        0 => context.out.line("The node is empty"),
        left => {
            let deadline = duration::format(args.deadline);
            context.out.line(&format!("{left} executions are left; they may go on for {deadline}"))
        }
    }
}

fn parse(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a duration like 90s, 10m or 1h30m".to_owned())
}
