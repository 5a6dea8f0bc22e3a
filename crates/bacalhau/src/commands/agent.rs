//! `agent`: questions to the server about itself.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::structured::{self, Format, OneArgs};
use bacalhau_model::BuildVersion;

/// Commands of `agent`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Check that the server answers
    #[command(after_help = "Example:\n  bacalhau agent alive")]
    Alive(OneArgs),
    /// Show the server's effective configuration, secrets masked
    #[command(after_help = "Example:\n  bacalhau agent config --output json")]
    Config(OneArgs),
    /// Show the server as a node: labels, engines, capacity
    #[command(after_help = "Example:\n  bacalhau agent node")]
    Node(OneArgs),
    /// Show the server's version
    #[command(after_help = "Example:\n  bacalhau agent version --output yaml")]
    Version(OneArgs),
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    let out = &context.out;
    let yaml = |args: &OneArgs| args.output.unwrap_or(Format::Yaml);
    match verb {
        Verb::Alive(args) => {
            let alive = context.client()?.agent_alive().await?;
            structured::print(out, &alive, yaml(&args), args.pretty)
        }
        Verb::Config(args) => {
            let config = context.client()?.agent_config().await?;
            // Configuration is for reading: indented unless the caller asks for YAML anyway.
            structured::print(out, &config, yaml(&args), true)
        }
        Verb::Node(args) => {
            let node = context.client()?.agent_node().await?;
            structured::print(out, &node, yaml(&args), args.pretty)
        }
        Verb::Version(args) => {
            let version = context.client()?.agent_version().await?;
            match args.output {
                Some(format) => structured::print(out, &version, format, args.pretty),
                None => out.raw(text(&version).as_bytes()),
            }
        }
    }
}

fn text(version: &BuildVersion) -> String {
    format!(
        "Bacalhau {}\nBuildDate {}\nGitCommit {}\n",
        version.git_version, version.build_date, version.git_commit
    )
}
