//! Settings of the executor: plain data, whatever they are read from.

use super::ProbeConfig;
use crate::engines::container::Backend;
use crate::engines::docker::DockerConfig;
use crate::engines::exec::ExecConfig;
use crate::engines::oci::OciConfig;
use crate::engines::wasm::WasmConfig;
use crate::logs::LogLimits;
use crate::publishers::LocalPublisherConfig;
use crate::sources::DownloadLimits;
use crate::system;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// How long results of the `local` publisher are kept unless somebody says otherwise: a week.
const RESULTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Settings of an [`super::Executor`].
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The node's own folder (`<DataDir>/compute`); everything it writes is below.
    pub data_folder: PathBuf,
    /// ID of the node; what it creates outside its folder carries it.
    pub node_id: String,
    /// `Compute.AllowListedLocalPaths`: `<glob>[:ro|:rw]`.
    pub allow_listed_local_paths: Vec<String>,
    /// `Compute.Env.AllowList`: globs of the node's variables that jobs may read.
    pub env_allow_list: Vec<String>,
    /// `Engines.Disabled`.
    pub disabled_engines: Vec<String>,
    /// The engine `exec`, if the operator wants it (`Engines.Types.Exec.Enabled`).
    pub exec: Option<ExecConfig>,
    /// Engine `oci`; also what serves jobs of type `docker` where there is no Docker Engine.
    pub oci: OciConfig,
    /// `Engines.Types.Docker.Backend`.
    pub docker_backend: Backend,
    /// `InputSources.Disabled`.
    pub disabled_sources: Vec<String>,
    /// `Publishers.Disabled`.
    pub disabled_publishers: Vec<String>,
    /// Bounds of downloads.
    pub downloads: DownloadLimits,
    /// The `local` publisher.
    pub local_publisher: LocalPublisherConfig,
    /// Engine `docker`.
    pub docker: DockerConfig,
    /// How much disk logs may take.
    pub log_limits: LogLimits,
    /// How long a log is kept after its execution's end.
    pub log_age: Duration,
    /// `JobAdmissionControl.RejectNetworkedJobs`: tasks that do not say which network they want have none.
    pub reject_networked: bool,
    /// What is asked before a bid.
    pub probes: ProbeConfig,
    /// `Compute.Network.PortRangeStart` to `PortRangeEnd`: ports for jobs that do not choose one.
    pub port_range: RangeInclusive<u16>,
    /// `Compute.Disk.ExecutionLimit`: bytes that an execution may write whose task does not say how much.
    pub disk_limit: Option<u64>,
    /// `Compute.Disk.ResultsAge`: results of the `local` publisher are kept for this long.
    pub results_age: Duration,
    /// `Compute.Disk.ResultsSize`: bytes that results of the `local` publisher may take together.
    pub results_together: u64,
}

impl ExecutorConfig {
    /// Defaults of Bacalhau 1.9 for a node with this folder.
    pub fn new(data_folder: impl Into<PathBuf>) -> ExecutorConfig {
        let data_folder = data_folder.into();
        // A disk that does not tell its size is taken for a large one.
        let disk_size = system::disk(&data_folder).map_or(u64::MAX, |disk| disk.total);
        ExecutorConfig {
            node_id: String::new(),
            allow_listed_local_paths: Vec::new(),
            env_allow_list: Vec::new(),
            disabled_engines: Vec::new(),
            exec: None,
            oci: OciConfig::new(&data_folder),
            docker_backend: Backend::default(),
            disabled_sources: Vec::new(),
            disabled_publishers: Vec::new(),
            downloads: DownloadLimits::default(),
            local_publisher: LocalPublisherConfig::default(),
            docker: DockerConfig::default(),
            log_limits: LogLimits::for_disk(disk_size),
            reject_networked: false,
            probes: ProbeConfig::default(),
            port_range: 20_000..=32_000,
            disk_limit: None,
            results_age: RESULTS_AGE,
            results_together: disk_size / 2,
            log_age: Duration::from_secs(24 * 3600),
            data_folder,
        }
    }

    /// Folders and logs of executions.
    pub(super) fn executions_folder(&self) -> PathBuf {
        self.data_folder.join("executions")
    }

    /// The private folder of one execution. The ID has been checked when its log was opened.
    pub(super) fn work_folder(&self, execution_id: &str) -> PathBuf {
        self.executions_folder().join(execution_id)
    }

    /// Archives of the `local` publisher.
    pub(super) fn published_folder(&self) -> PathBuf {
        self.data_folder.join("results").join("local-publisher")
    }

    pub(super) fn wasm(&self) -> WasmConfig {
        WasmConfig {
            cache_folder: Some(self.data_folder.join("cache").join("wasm")),
            modules_folder: Some(self.data_folder.join("cache").join("modules")),
            roots_folder: Some(self.data_folder.join("cache").join("wasm-roots")),
            registry: self.oci.registry.clone(),
            ..WasmConfig::default()
        }
    }
}
