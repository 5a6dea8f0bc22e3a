//! The engines that a node has, made from its settings. Adding one touches this list and nothing else.

use super::ExecutorConfig;
use crate::engines::Engine;
use crate::engines::container::ContainerEngine;
use crate::engines::docker::DockerEngine;
use crate::engines::exec::ExecEngine;
use crate::engines::oci::OciEngine;
use crate::engines::wasm::WasmEngine;
use bacalhau_model::Error;
use std::sync::Arc;

/// All that the settings allow; those that are switched off by name are left out later.
pub(super) fn engines(config: &ExecutorConfig) -> Result<Vec<Arc<dyn Engine>>, Error> {
    let oci: Arc<dyn Engine> = Arc::new(OciEngine::new(config.oci.clone())?);
    let docker: Arc<dyn Engine> = Arc::new(DockerEngine::new(config.docker.clone(), &config.node_id));
    // Jobs of type `docker` run under the one or the other.
    let docker = ContainerEngine::new(Some(docker), Arc::clone(&oci), config.docker_backend);
    let mut engines: Vec<Arc<dyn Engine>> =
        vec![Arc::new(docker), oci, Arc::new(WasmEngine::new(config.wasm()))];
    if let Some(exec) = &config.exec {
        engines.push(Arc::new(ExecEngine::new(exec.clone())?));
    }
    Ok(engines)
}
