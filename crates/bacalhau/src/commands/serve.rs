//! `serve`: flags only; what they do is in [`crate::serve`].

/// Flags of `serve`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau serve --orchestrator --compute                       both roles on one machine\n  \
    bacalhau serve --orchestrator -c Orchestrator.Auth.Token=s    an orchestrator that wants a token\n  \
    bacalhau serve --compute --Compute.Orchestrators=s@10.0.0.1   a compute node for it")]
pub(crate) struct ServeArgs {
    /// Schedule jobs [key: Orchestrator.Enabled]
    #[arg(long)]
    pub(crate) orchestrator: bool,
    /// Run jobs [key: Compute.Enabled]
    #[arg(long)]
    pub(crate) compute: bool,
    /// Name of this node, fixed at its first start
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
}
