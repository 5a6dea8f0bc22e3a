//! What the container of an execution looks like: the body of Docker's "create". Writes inputs that are still in
//! memory to the execution's folder, and does nothing else.

use super::config::DockerConfig;
use super::daemon::Connected;
use super::gpus::Devices;
use super::image::ImageName;
use super::{errors, network};
use crate::engines::container::{LEAST_MEMORY, Params};
use crate::engines::{EngineRequest, ResultFolder};
use crate::executor::WorkFolder;
use crate::sources::{Mount, MountData};
use bacalhau_model::{Error, Resources};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountType,
};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// The least share of a core Docker lets a container have.
const LEAST_CPU: f64 = 0.01;

/// Files in which Docker keeps output.
const LOG_FILES: u64 = 2;

/// Folder of the execution for inputs that were in memory.
const FILES: &str = "root";

/// The container for a request.
pub(super) fn describe(
    request: &EngineRequest,
    params: &Params<ImageName>,
    config: &DockerConfig,
    daemon: &Connected,
    mounts: Vec<DockerMount>,
    devices: Devices,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let network = network::settings(&request.network, &request.ports);
    let mut host = limits(&request.resources, config, daemon);
    host.mounts = (!mounts.is_empty()).then_some(mounts);
    host.devices = (!devices.nodes.is_empty()).then_some(devices.nodes);
    host.device_requests = (!devices.requests.is_empty()).then_some(devices.requests);
    host.security_opt = Some(vec!["no-new-privileges".to_owned()]);
    host.log_config = Some(log_config(config));
    host.network_mode = Some(network.mode);
    host.extra_hosts = network.extra_hosts;
    host.port_bindings = network.bindings;
    ContainerCreateBody {
        image: Some(params.image.exact()),
        entrypoint: some(&params.entrypoint),
        cmd: some(&params.parameters),
        env: Some(params.variables(&request.env)),
        working_dir: (!params.working_directory.is_empty()).then(|| params.working_directory.clone()),
        labels: Some(labels),
        tty: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        exposed_ports: network.exposed,
        network_disabled: network.disabled.then_some(true),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn limits(resources: &Resources, config: &DockerConfig, daemon: &Connected) -> HostConfig {
    let memory = (resources.memory > 0).then(|| {
        let bytes = resources.memory.max(LEAST_MEMORY);
        i64::try_from(bytes).unwrap_or(i64::MAX)
    });
    HostConfig {
        memory,
        // Memory and swap together: a limit that swap extends is none.
        memory_swap: memory,
        nano_cpus: (resources.cpu > 0.0).then(|| nano_cpus(resources.cpu, daemon.cpus)),
        pids_limit: (config.pids_limit > 0).then_some(config.pids_limit),
        ..HostConfig::default()
    }
}

/// Billionths of a core, as many as Docker accepts on this machine.
#[allow(clippy::cast_possible_truncation)] // bounded by the cores of a machine
fn nano_cpus(cpu: f64, available: f64) -> i64 {
    (cpu.min(available).max(LEAST_CPU) * 1e9).round() as i64
}

/// Docker's own copy of the output is needed only for what is printed while the node is away, so it is small. The
/// `local` driver keeps bytes as they were printed, which `json-file` does not.
fn log_config(config: &DockerConfig) -> HostConfigLogConfig {
    let options = HashMap::from([
        ("max-size".to_owned(), (config.daemon_log_bytes / LOG_FILES).max(1 << 10).to_string()),
        ("max-file".to_owned(), LOG_FILES.to_string()),
    ]);
    HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(options) }
}

/// Everything the container sees of the host: inputs, and folders for results. Blocks.
pub(super) fn mounts(
    inputs: &[Mount],
    results: &[ResultFolder],
    work: &WorkFolder,
) -> Result<Vec<DockerMount>, Error> {
    let inputs = inputs.iter().enumerate().map(|(number, mount)| {
        let source = on_disk(work, number, mount).map_err(|e| {
            errors::internal(format!("preparing input {}: {e}", mount.target))
                .hint("Check the free space of the compute node")
                .retryable()
        })?;
        bind(&source, &mount.target, mount.read_only)
    });
    let results = results.iter().map(|result| {
        let source = std::path::absolute(&result.host_path).unwrap_or_else(|_| result.host_path.clone());
        bind(&source, &result.path, false)
    });
    inputs.chain(results).collect()
}

fn bind(source: &std::path::Path, target: &str, read_only: bool) -> Result<DockerMount, Error> {
    let source = source.to_str().ok_or_else(|| {
        errors::internal(format!("path {} cannot be told to Docker: it is no UTF-8", source.display()))
    })?;
    Ok(DockerMount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..DockerMount::default()
    })
}

/// Where the data of an input is. What belongs to this execution alone becomes readable for any user of the
/// container; the folders above keep others on the host out.
fn on_disk(work: &WorkFolder, number: usize, mount: &Mount) -> io::Result<PathBuf> {
    let path = match &mount.data {
        MountData::Bytes(bytes) => {
            let path = work.create(FILES)?.join(number.to_string());
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&path)?;
            io::Write::write_all(&mut file, bytes)?;
            path
        }
        MountData::Folder(path) | MountData::File(path) => path.clone(),
    };
    if path.starts_with(work.path()) {
        let mode = std::fs::metadata(&path)?.permissions().mode();
        let readable = mode | if path.is_dir() { 0o055 } else { 0o044 };
        if readable != mode {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(readable))?;
        }
    }
    // Docker resolves no relative paths.
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_cores_are_what_docker_accepts() {
        assert_eq!(nano_cpus(0.5, 2.0), 500_000_000);
        assert_eq!(nano_cpus(0.001, 2.0), 10_000_000);
        assert_eq!(nano_cpus(8.0, 2.0), 2_000_000_000);
    }
}
