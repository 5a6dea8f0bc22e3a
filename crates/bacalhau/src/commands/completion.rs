//! `completion`: scripts for shells.

use crate::context::Context;
use crate::failure::Outcome;
use clap::ValueEnum;
use clap_complete::Shell;

/// Flags of `completion`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(bacalhau completion bash)                          this session\n  \
    bacalhau completion zsh > \"${fpath[1]}/_bacalhau\"           every session\n  \
    bacalhau completion fish > ~/.config/fish/completions/bacalhau.fish")]
pub(crate) struct CompletionArgs {
    /// bash, zsh, fish or powershell
    #[arg(value_name = "SHELL", value_parser = shell)]
    pub(crate) shell: Shell,
    /// Accepted for old scripts
    #[arg(long, hide = true)]
    pub(crate) no_descriptions: bool,
}

fn shell(text: &str) -> Result<Shell, String> {
    Shell::from_str(text, true).map_err(|_| "there are bash, zsh, fish and powershell".to_owned())
}

/// Prints the script.
pub(crate) fn run(context: &Context, args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "bacalhau", &mut script);
    context.out.raw(&script)
}
