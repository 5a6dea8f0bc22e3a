//! `node`: look at and manage the nodes of the network.

mod credentials;
mod drain;
mod list;

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::structured::{self, Format, OneArgs};

/// Commands of `node`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Let a node take part
    #[command(after_help = "Example:\n  bacalhau node approve n-f1c579e2 -m \"checked\"")]
    Approve(ActionArgs),
    /// Give a node no new work; what runs there goes on
    #[command(after_help = "Example:\n  bacalhau node cordon n-f1c579e2")]
    Cordon(ActionArgs),
    /// Keys with which single nodes join
    #[command(subcommand)]
    Credentials(credentials::Verb),
    /// Remove a node from the list
    #[command(after_help = "Example:\n  bacalhau node delete n-f1c579e2")]
    Delete(ActionArgs),
    /// Show everything about a node
    #[command(after_help = "Example:\n  bacalhau node describe n-f1c579e2")]
    Describe(DescribeArgs),
    /// Move the work away from a node and give it no more
    Drain(drain::DrainArgs),
    /// List nodes
    List(list::NodeListArgs),
    /// Keep a node out
    #[command(after_help = "Example:\n  bacalhau node reject n-f1c579e2")]
    Reject(ActionArgs),
    /// Give a node new work again; ends a drain
    #[command(after_help = "Example:\n  bacalhau node uncordon n-f1c579e2")]
    Uncordon(ActionArgs),
}

/// Flags of `node approve`, `reject` and `delete`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ActionArgs {
    /// ID or unique beginning of an ID
    #[arg(value_name = "NODE")]
    node: String,
    /// Why
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
}

/// Flags of `node describe`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    /// ID or unique beginning of an ID
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    one: OneArgs,
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Credentials(verb) => credentials::run(context, verb).await,
        Verb::List(args) => list::run(context, args).await,
        Verb::Describe(args) => {
            let node = context.client()?.node(&args.node).await?;
            structured::print(&context.out, &node, args.one.output.unwrap_or(Format::Yaml), args.one.pretty)
        }
        Verb::Approve(args) => act(context, &args, "approve").await,
        Verb::Reject(args) => act(context, &args, "reject").await,
        Verb::Delete(args) => act(context, &args, "delete").await,
        Verb::Cordon(args) => act(context, &args, "cordon").await,
        Verb::Uncordon(args) => act(context, &args, "uncordon").await,
        Verb::Drain(args) => drain::run(context, args).await,
    }
}

async fn act(context: &Context, args: &ActionArgs, action: &str) -> Outcome {
    let answer = context.client()?.update_node(&args.node, action, &args.message).await?;
    if answer.success {
        return context.out.line("Ok");
    }
    let why = if answer.error.is_empty() { "the server did not say why" } else { &answer.error };
    Err(fail(format!("could not {action} node {}: {why}", args.node)).into())
}
