//! One module for each command or group of commands; here they are started.

pub(crate) mod agent;
pub(crate) mod auth;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod devstack;
pub(crate) mod docker;
pub(crate) mod events;
pub(crate) mod job;
pub(crate) mod node;
pub(crate) mod profile;
pub(crate) mod serve;
mod spec_args;
mod submit;
pub(crate) mod tls;
pub(crate) mod version;
pub(crate) mod wasm;

use crate::cli::Verb;
use crate::context::Context;
use crate::failure::{Outcome, fail};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Runs a command to its end.
pub(crate) fn run(context: Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Completion(args) => completion::run(&context, &args),
        Verb::Config(verb) => config::run(&context, verb),
        Verb::Profile(verb) => profile::run(&context, verb),
        Verb::Serve(args) => serve(crate::serve::run(&context, args)),
        Verb::Devstack(args) => serve(crate::serve::run_devstack(&context, args)),
        Verb::Agent(verb) => client()?.block_on(agent::run(&context, verb)),
        Verb::Auth(verb) => client()?.block_on(auth::run(&context, verb)),
        Verb::Docker(verb) => client()?.block_on(docker::run(&context, verb)),
        Verb::Events(args) => client()?.block_on(events::run(&context, args)),
        Verb::Job(verb) => client()?.block_on(job::run(&context, verb)),
        Verb::Node(verb) => client()?.block_on(node::run(&context, verb)),
        Verb::Tls(verb) => tls::run(&context, verb),
        Verb::Version(args) => client()?.block_on(version::run(&context, args)),
        Verb::Wasm(verb) => client()?.block_on(wasm::run(&context, verb)),
    }
}

/// Clients wait more than they work: one thread starts fastest.
fn client() -> Result<Runtime, bacalhau_model::Error> {
    started(Builder::new_current_thread().enable_all().build())
}

/// Threads for blocking work at most. Each running WebAssembly program has one; the node's capacity bounds their number
/// long before this does.
const MOST_BLOCKING_THREADS: usize = 4096;

fn server() -> Result<Runtime, bacalhau_model::Error> {
    started(Builder::new_multi_thread().max_blocking_threads(MOST_BLOCKING_THREADS).enable_all().build())
}

/// Runs a server to its end. Threads that hang in a system call, on a network file system that is gone say, do not keep
/// the process: what had to be finished has been waited for.
fn serve(server_of: impl Future<Output = Outcome>) -> Outcome {
    let runtime = server()?;
    let outcome = runtime.block_on(server_of);
    runtime.shutdown_timeout(LAST_PATIENCE);
    outcome
}

/// How long a server that has ended waits for its threads.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

fn started(runtime: std::io::Result<Runtime>) -> Result<Runtime, bacalhau_model::Error> {
    runtime.map_err(|e| fail(format!("cannot start the runtime: {e}")))
}
