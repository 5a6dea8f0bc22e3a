//! The bacalhau command: client, orchestrator and compute node in one binary.
//!
//! Here: from arguments to an exit code. 0 is success; 1 is any failure, including a watched job that failed.

// The house's error type carries message, hint, code and details; errors are rare here and never in a hot loop.
#![allow(clippy::result_large_err)]

mod args;
mod certificates;
mod cli;
mod commands;
mod context;
mod download;
mod endpoint;
mod environment;
mod failure;
mod job_file;
mod logs;
mod output;
mod profiles;
mod progress;
mod serve;
mod settings;
mod shorthand;
mod usage;

use bacalhau_compute::engines::{exec, supervisor};
use clap::FromArgMatches;
use clap::error::ErrorKind;
use context::Context;
use environment::Environment;
use failure::{Failure, Outcome, fail};
use output::Out;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A node starts itself again as the supervisor of each container and each `exec` task. Nothing else of this program
    // may run then.
    match std::env::args_os().nth(1) {
        Some(argument) if argument == supervisor::ARGUMENT => return supervisor::supervise(),
        Some(argument) if argument == exec::SUPERVISOR_ARGUMENT => return exec::supervise(),
        _ => {}
    }
    let out = Out::detect();
    // One TLS provider for everything in the process. The call fails only when there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Exit(code)) => ExitCode::from(code),
        Err(Failure::Error(error)) => {
            out.error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(out: Out) -> Outcome {
    let environment = Environment::load()?;
    let tree = cli::command();
    let mut argv = Vec::new();
    for arg in std::env::args_os() {
        let text = arg.into_string().map_err(|arg| fail(format!("the argument {arg:?} is no UTF-8 text")))?;
        argv.push(text);
    }
    let prepared = args::prepare(&tree, argv, &settings::find_key)?;
    let matches = match tree.try_get_matches_from(prepared.args) {
        Ok(matches) => matches,
        Err(error) => return usage_outcome(&out, &error),
    };
    let parsed = match cli::Cli::from_arg_matches(&matches) {
        Ok(parsed) => parsed,
        Err(error) => return usage_outcome(&out, &error),
    };
    if parsed.global.log_level.is_some() {
        out.note("Flag --log-level has been deprecated, Use --config Logging.Level=<value> to set this configuration");
    }
    commands::run(Context::new(out, parsed.global, prepared.config, environment), parsed.command)
}

/// Help was asked for, or the command line was wrong.
fn usage_outcome(out: &Out, error: &clap::Error) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion => out.raw(error.render().to_string().as_bytes()),
        _ => Err(usage::explain(error).into()),
    }
}
