//! `devstack`: flags only; what they do is in [`crate::serve`].

use std::path::PathBuf;

/// Flags of `devstack`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau devstack                                  one orchestrator, three compute nodes\n  \
    bacalhau devstack --orchestrators 0 --hybrids 1    one node with both roles")]
pub(crate) struct DevstackArgs {
    /// Nodes that only schedule
    #[arg(long, value_name = "N", default_value_t = 1, alias = "requester-nodes")]
    pub(crate) orchestrators: u32,
    /// Nodes that only run jobs
    #[arg(long, value_name = "N", default_value_t = 3, alias = "compute-nodes")]
    pub(crate) computes: u32,
    /// Nodes with both roles
    #[arg(long, value_name = "N", default_value_t = 0, alias = "hybrid-nodes")]
    pub(crate) hybrids: u32,
    /// Compute nodes on which every execution fails
    #[arg(long, value_name = "N", default_value_t = 0, alias = "bad-compute-actors")]
    pub(crate) bad_computes: u32,
    /// Keep state in this folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) stack_repo: Option<PathBuf>,
    /// Use free ports instead of the usual ones
    #[arg(long)]
    pub(crate) random_ports: bool,
    /// Accepted for old scripts; nothing is written
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) cpu_profiling_file: Option<PathBuf>,
    /// Accepted for old scripts; nothing is written
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) memory_profiling_file: Option<PathBuf>,
}
