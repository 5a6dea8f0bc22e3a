//! The start of a container: from here on it belongs to its supervisor.

use super::container::{Container, Layers};
use super::prepare::Prepared;
use super::record::Record;
use super::remains;
use super::runtime::Runtime;
use super::{Shared, error};
use crate::engines::supervisor::client::Supervisor;
use crate::engines::supervisor::output::Output;
use crate::engines::supervisor::{End, Plan};
use crate::engines::{EngineError, EngineRequest};
use std::io;
use std::sync::Arc;

/// Runs what is prepared. Dropped before the container's supervisor is there, it takes everything down; later it leaves
/// everything as it is.
pub(super) async fn start(
    shared: &Arc<Shared>,
    runtime: Runtime,
    request: EngineRequest,
    prepared: Prepared,
) -> Result<i64, EngineError> {
    if request.cancel.is_cancelled() {
        prepared.discard().await;
        return Err(EngineError::Cancelled);
    }
    let (output, supervisor) = match supervise(shared, &runtime, &request, &prepared).await {
        Ok(started) => started,
        Err(e) => {
            prepared.discard().await;
            remains::remove(shared, &request.execution.id).await;
            let error = error(format!("the supervisor of the container cannot be started: {e}"));
            return Err(EngineError::not_started(error.retryable()));
        }
    };
    let Prepared { layout, network, mounted, image, work } = prepared;
    mounted.leave();
    let container = Container::new(
        Arc::clone(shared),
        Some(runtime),
        request.execution.id.clone(),
        layout,
        network,
        Layers::Lent(image),
        work,
    );
    container.follow(supervisor, Some(output), &request).await
}

/// Removes what a former try of the same attempt left, if there was one: services are started anew in the same attempt.
pub(super) async fn make_way(shared: &Arc<Shared>, id: &str) {
    // What cannot be looked at cannot be made anew either, and that is told then.
    if tokio::fs::try_exists(shared.kept(id)).await.unwrap_or(false) {
        remains::remove(shared, id).await;
    }
}

async fn supervise(
    shared: &Arc<Shared>,
    runtime: &Runtime,
    request: &EngineRequest,
    prepared: &Prepared,
) -> io::Result<(Output, Supervisor)> {
    let id = request.execution.id.clone();
    let folder = shared.kept(&id);
    let record = Record::new(prepared.image.layers.clone(), prepared.network.record());
    let (log, place) = (request.log.clone(), folder.clone());
    let output = tokio::task::spawn_blocking(move || {
        record.write(&place)?;
        Ok::<_, io::Error>((End::reserve(&place)?, Output::begin(&place, log)?))
    });
    let (end, output) = output.await.map_err(io::Error::other)??;
    let layout = &prepared.layout;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let arguments = [
        "--root",
        &text(&shared.state()),
        "--log",
        &text(&layout.runtime_log()),
        "--log-format",
        "json",
        "run",
        "--detach",
        "--bundle",
        &text(&layout.folder),
        "--pid-file",
        &text(&layout.pid_file()),
        &id,
    ];
    let plan = Plan {
        folder,
        starter: (runtime.program.clone(), arguments.map(str::to_owned).to_vec()),
        pid_file: layout.pid_file(),
        cgroup: shared.machine.group(&shared.cgroup_of_program(&id)),
        own_cgroup: shared.cgroup_of_supervisor(&id),
        namespace: prepared.network.namespace(),
    };
    let supervisor = Supervisor::start(&shared.config.supervisor, &plan, end).await?;
    Ok((output, supervisor))
}
