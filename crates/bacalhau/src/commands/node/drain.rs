//! `node drain`.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use bacalhau_api::client::{EventsQuery, Signal};
use bacalhau_config::duration;
use bacalhau_model::{EventKind, NodeState};
use std::time::Duration;

/// Flags of `node drain`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau node drain n-f1c579e2\n  \
    bacalhau node drain n-f1c579e2 --deadline 10m --wait -m \"new kernel\"\n\n\
    Services and daemons leave at once. Batch and ops executions may finish until the deadline; what is left then is\n\
    stopped and runs elsewhere. `node describe` shows how many are left, `node uncordon` takes the node back.")]
pub(crate) struct DrainArgs {
    /// ID or unique beginning of an ID
    #[arg(value_name = "NODE")]
    node: String,
    /// How long batch and ops executions may go on; 0 stops them at once
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse)]
    deadline: Duration,
    /// Show how many executions are left until none is
    #[arg(long)]
    wait: bool,
    /// Why
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// Asks for the drain and says how much is left, now or until nothing is.
pub(super) async fn run(context: &Context, args: DrainArgs) -> Outcome {
    let client = context.client()?;
    // The stream is opened first, so that no step is missed between the answer and the first event.
    let query = EventsQuery { kinds: vec![EventKind::Node], ..EventsQuery::default() };
    let feed = if args.wait { client.event_feed(query).await? } else { None };
    let answer = client.drain_node(&args.node, args.deadline, &args.message).await?;
    if !answer.success {
        let why = if answer.error.is_empty() { "the server did not say why" } else { &answer.error };
        return Err(fail(format!("could not drain node {}: {why}", args.node)).into());
    }
    let node = client.node(&args.node).await?;
    let mut left = show(context, &node)?;
    let Some(mut feed) = feed else {
        if left > 0 {
            context.out.line(&format!("They may go on for {}", duration::format(args.deadline)))?;
        }
        return Ok(());
    };
    while left > 0 {
        match feed.next().await? {
            Some(Signal::Event(event)) if event.node_id != node.info.node_id => {}
            Some(Signal::Reconnected) => {}
            _ => {
                let now = client.node(&node.info.node_id).await?;
                if now.drain.is_none() {
                    return Err(fail("the drain was ended by somebody else").into());
                }
                if now.drain.as_ref().map(|drain| drain.remaining) != Some(left) {
                    left = show(context, &now)?;
                }
            }
        }
    }
    Ok(())
}

/// Says how many executions are left, and gives the number.
fn show(context: &Context, node: &NodeState) -> Result<usize, crate::failure::Failure> {
    let left = node.drain.as_ref().map_or(0, |drain| drain.remaining);
    context.out.line(&match left {
        0 => "The node is empty".to_owned(),
        1 => "1 execution is left".to_owned(),
        left => format!("{left} executions are left"),
    })?;
    Ok(left)
}

fn parse(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a duration like 90s, 10m or 1h30m".to_owned())
}
