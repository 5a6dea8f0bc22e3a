//! Running servers: orchestrator, compute node, or both, and small clusters for trying things out.

use crate::commands::devstack::DevstackArgs;
use crate::commands::serve::ServeArgs;
use crate::context::Context;
use crate::failure::{Outcome, fail};

/// Runs a server until it is told to stop.
pub(crate) async fn run(_context: &Context, _args: ServeArgs) -> Outcome {
    Err(fail("this build cannot run servers yet").hint("use it as a client of an existing server").into())
}

/// Runs a small cluster until it is told to stop.
pub(crate) async fn run_devstack(_context: &Context, _args: DevstackArgs) -> Outcome {
    Err(fail("this build cannot run servers yet").hint("use it as a client of an existing server").into())
}
