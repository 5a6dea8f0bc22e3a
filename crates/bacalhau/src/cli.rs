//! The command line as a whole: global flags, the command tree, help.

use crate::commands::{
    agent, auth, completion, config, devstack, docker, events, job, node, profile, serve, tls, version, wasm,
};
use clap::{Args, Command, CommandFactory, Parser, Subcommand};

/// Flags that every command has.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A configuration file (.yaml), a KEY=VALUE pair, or a KEY that is switched on; may be repeated. Every key is
    /// also a flag of its own: --API.Port=1235
    #[arg(long, short = 'c', global = true, value_name = "FILE|KEY[=VALUE]")]
    pub(crate) config: Vec<String>,
    /// Host of the API, for clients also a URL [key: API.Host]
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) api_host: Option<String>,
    /// Port of the API [key: API.Port]
    #[arg(long, global = true, value_name = "PORT")]
    pub(crate) api_port: Option<String>,
    /// Folder for state and configuration [key: DataDir]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Old name of --Logging.Level
    #[arg(long, global = true, value_name = "LEVEL", hide = true)]
    pub(crate) log_level: Option<String>,
    /// Use this saved connection (see `bacalhau profile`)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// Compute over data: run jobs next to the data they need.
#[derive(Debug, Parser)]
#[command(
    name = "bacalhau",
    after_help = "Examples:\n  \
        bacalhau serve --orchestrator --compute          start a server\n  \
        bacalhau docker run ubuntu -- echo hello         run a container\n  \
        bacalhau job run job.yaml                        run a job from a file\n  \
        bacalhau job list                                see what runs"
)]
pub(crate) struct Cli {
    /// Global flags.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Verb,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = false)]
pub(crate) enum Verb {
    /// Ask the server about itself
    #[command(subcommand)]
    Agent(agent::Verb),
    /// Credentials and who you are
    #[command(subcommand)]
    Auth(auth::Verb),
    /// Print a completion script for your shell
    Completion(completion::CompletionArgs),
    /// Look at and change the configuration
    #[command(subcommand)]
    Config(config::Verb),
    /// Start a small throw-away cluster on this machine
    Devstack(devstack::DevstackArgs),
    /// Run containers
    #[command(subcommand)]
    Docker(docker::Verb),
    /// Show what happens in the network: one line for each change of a job, an execution or a node
    Events(events::EventsArgs),
    /// Submit, watch and manage jobs
    #[command(subcommand)]
    Job(job::Verb),
    /// Look at and manage the nodes of the network
    #[command(subcommand)]
    Node(node::Verb),
    /// Saved connections to servers
    #[command(subcommand)]
    Profile(profile::Verb),
    /// Start a server: orchestrator, compute node or both
    Serve(serve::ServeArgs),
    /// Certificates for encrypted connections between the nodes
    #[command(subcommand)]
    Tls(tls::Verb),
    /// Show the versions of this program and of the server
    Version(version::VersionArgs),
    /// Run WebAssembly programs
    #[command(subcommand)]
    Wasm(wasm::Verb),
}

const AUTH_FOOTER: &str = "Auth Environment Variables:\n  \
    BACALHAU_API_KEY       API key, sent as a bearer token\n  \
    BACALHAU_API_USERNAME  user name, together with\n  \
    BACALHAU_API_PASSWORD  the password";

/// The command tree with the common end of all help texts.
pub(crate) fn command() -> Command {
    with_footer(Cli::command())
}

fn with_footer(command: Command) -> Command {
    let help = match command.get_after_help() {
        Some(own) => format!("{own}\n\n{AUTH_FOOTER}"),
        None => AUTH_FOOTER.to_owned(),
    };
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_footer));
    command.after_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_a_description() {
        fn check(command: &Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path}");
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path}");
            }
            command.get_subcommands().for_each(|c| check(c, &path));
        }
        check(&command(), "");
    }
}
