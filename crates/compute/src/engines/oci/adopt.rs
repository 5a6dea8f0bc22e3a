//! Going on with a container that a former life of the node started.

use super::bundle::Layout;
use super::container::{Container, Layers};
use super::network::Network;
use super::record::Record;
use super::{Shared, remains};
use crate::engines::supervisor::client::Supervisor;
use crate::engines::supervisor::output::Output;
use crate::engines::supervisor::{End, NAMESPACE};
use crate::engines::{EngineError, EngineRequest};
use std::sync::{Arc, PoisonError};

/// Goes on with it, whether it still runs or has ended meanwhile.
pub(super) async fn adopt(shared: &Arc<Shared>, request: EngineRequest) -> Result<i64, EngineError> {
    let id = request.execution.id.clone();
    let folder = shared.kept(&id);
    let held = shared.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let supervisor = Supervisor::find(&folder).await;
    let place = folder.clone();
    let (log, is_there) = (request.log.clone(), supervisor.is_some());
    let found = tokio::task::spawn_blocking(move || {
        let record = Record::read(&place)?;
        // One without a supervisor must have left word of its end.
        (is_there || End::read(&place).is_some()).then(|| (record, Output::resume(&place, log)))
    });
    let Some((record, output)) = found.await.ok().flatten() else {
        drop(supervisor);
        remains::remove(shared, &id).await;
        return Err(EngineError::Gone);
    };
    let output = output.map_err(|error| {
        tracing::warn!(execution = %id, %error, "what an adopted container prints cannot be logged");
    });
    let network = if is_there { record.network } else { Default::default() };
    let network = Network::adopt(network, &request, &folder.join(NAMESPACE), &shared.bridge).await;
    let container = Container::new(
        Arc::clone(shared),
        shared.runtime().await.ok(),
        id,
        Layout::new(&request.work.path().join(super::prepare::FOLDER)),
        network,
        Layers::Held(held),
        Arc::clone(&request.work),
    );
    match supervisor {
        Some(supervisor) => container.follow(supervisor, output.ok(), &request).await,
        None => container.bury(None, output.ok(), None, &request).await,
    }
}
