//! From configuration to the options of the parts. The only place that knows which key means what to whom.

use super::{addresses, compute, engines};
use bacalhau_api::server::ServerOptions;
use bacalhau_compute::executor::ExecutorConfig;
use bacalhau_compute::logs::LogLimits;
use bacalhau_compute::publishers::LocalPublisherConfig;
use bacalhau_compute::sources::DownloadLimits;
use bacalhau_config::{Config, DataDir};
use bacalhau_model::defaults::{JobDefaults, TypeDefaults};
use bacalhau_model::{Error, NodeInfo, NodeType, ResourcesConfig, SpecConfig, quantity, version};
use bacalhau_orchestrator::{Retention, Settings};
use bacalhau_wire::address::Address;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Labels of a node: what every node has, then the configured ones.
pub(super) fn labels(config: &Config, name: &str) -> BTreeMap<String, String> {
    let build = version::this_build();
    let mut labels = BTreeMap::from([
        ("name".to_owned(), name.to_owned()),
        ("os_type".to_owned(), build.goos),
        ("os_arch".to_owned(), build.goarch),
    ]);
    labels.extend(config.map("Labels"));
    labels
}

/// What a mere orchestrator says of itself.
pub(super) fn orchestrator_info(config: &Config, name: &str) -> NodeInfo {
    NodeInfo {
        node_id: name.to_owned(),
        node_type: NodeType::Requester,
        labels: labels(config, name),
        supported_protocols: vec!["bprotocol/v2".to_owned(), "ncl/v1".to_owned()],
        bacalhau_version: version::this_build(),
        ..NodeInfo::default()
    }
}

/// Numbers of the orchestrator's core.
pub(super) fn settings(config: &Config, name: &str) -> Settings {
    Settings {
        node_id: name.to_owned(),
        manual_approval: config.bool("Orchestrator.NodeManager.ManualApproval"),
        disconnect_timeout: nanos(config.duration("Orchestrator.NodeManager.DisconnectTimeout")),
        reconnect_grace: match nanos(config.duration("Orchestrator.NodeManager.ReconnectGrace")) {
            0 => Settings::USUAL_RECONNECT_GRACE,
            grace => grace,
        },
        retention: retention(config),
        ..Settings::default()
    }
}

/// `Orchestrator.Retention.*`; 0 is no limit.
fn retention(config: &Config) -> Retention {
    let most = |key: &str| {
        let number = u64::try_from(config.int(&format!("Orchestrator.Retention.{key}"))).unwrap_or(0);
        (number > 0).then_some(number)
    };
    let age = nanos(config.duration("Orchestrator.Retention.MaxAge"));
    Retention {
        max_age: (age > 0).then_some(age),
        max_jobs: most("MaxJobs"),
        max_executions: most("MaxExecutionsPerJob"),
        max_history: most("MaxHistoryPerJob"),
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// `JobDefaults.*`.
pub(super) fn job_defaults(config: &Config) -> JobDefaults {
    let of = |kind: &str| {
        let key = |rest: &str| format!("JobDefaults.{kind}.{rest}");
        let text = |rest: &str| config.text(&key(rest)).to_owned();
        let seconds = |rest: &str| i64::try_from(config.duration(&key(rest)).as_secs()).unwrap_or(i64::MAX);
        let mut publisher = SpecConfig::new(text("Task.Publisher.Type"));
        publisher.params =
            config.map(&key("Task.Publisher.Params")).into_iter().map(|(k, v)| (k, v.into())).collect();
        TypeDefaults {
            priority: config.int(&key("Priority")),
            resources: ResourcesConfig {
                cpu: text("Task.Resources.CPU"),
                memory: text("Task.Resources.Memory"),
                disk: text("Task.Resources.Disk"),
                gpu: text("Task.Resources.GPU"),
            },
            publisher,
            total_timeout: seconds("Task.Timeouts.TotalTimeout"),
            execution_timeout: seconds("Task.Timeouts.ExecutionTimeout"),
        }
    };
    JobDefaults { batch: of("Batch"), ops: of("Ops"), service: of("Service"), daemon: of("Daemon") }
}

/// Where the API listens. A port that nobody asked for gives way on mere compute nodes, so that several fit on one
/// machine.
pub(super) fn api(config: &Config, only_compute: bool) -> Result<ServerOptions, Error> {
    let ip = bacalhau_config::validate::listen_address(config.text("API.Host"), &addresses::own())?;
    let listen = SocketAddr::new(ip, port(config, "API.Port"));
    Ok(ServerOptions { listen, port_may_change: only_compute && !config.is_set("API.Port") })
}

/// A port; validation has checked its range.
pub(super) fn port(config: &Config, key: &str) -> u16 {
    u16::try_from(config.int(key)).unwrap_or(0)
}

/// What the executor may do.
pub(super) fn executor(
    config: &Config,
    dir: &DataDir,
    orchestrators: &[Address],
) -> Result<ExecutorConfig, Error> {
    let list = |key: &str| config.list(key).to_vec();
    let usual = compute::executor(config, ExecutorConfig::new(dir.compute()))?;
    Ok(ExecutorConfig {
        oci: engines::oci(config, dir)?,
        docker_backend: engines::docker_backend(config)?,
        docker: engines::docker(config),
        exec: engines::exec(config, dir),
        allow_listed_local_paths: list("Compute.AllowListedLocalPaths"),
        env_allow_list: list("Compute.Env.AllowList"),
        disabled_engines: list("Engines.Disabled"),
        disabled_sources: list("InputSources.Disabled"),
        disabled_publishers: list("Publishers.Disabled"),
        downloads: DownloadLimits {
            read_timeout: config.duration("InputSources.ReadTimeout"),
            max_retries: u32::try_from(config.int("InputSources.MaxRetryCount")).unwrap_or(0),
            ..DownloadLimits::default()
        },
        local_publisher: local_publisher(config, orchestrators),
        reject_networked: config.bool("JobAdmissionControl.RejectNetworkedJobs"),
        log_limits: log_limits(config, usual.log_limits),
        log_age: config.duration("Compute.Logs.Retention"),
        ..usual
    })
}

/// `Compute.Logs.*`; validation has checked that they are sizes. A single execution gets no more than all together.
fn log_limits(config: &Config, usual: LogLimits) -> LogLimits {
    let size = |key: &str, usual: u64| {
        let text = config.text(&format!("Compute.Logs.{key}")).trim();
        quantity::parse_bytes(text).filter(|_| !text.is_empty()).unwrap_or(usual)
    };
    let together = size("MaxTotalSize", usual.together);
    LogLimits {
        execution: size("MaxExecutionSize", usual.execution).min(together),
        together,
        keep_free: size("KeepDiskFree", usual.keep_free),
    }
}

fn local_publisher(config: &Config, orchestrators: &[Address]) -> LocalPublisherConfig {
    let advertised = config.text("Compute.Network.AdvertisedAddress");
    let reachable = match advertised {
        "" => orchestrators
            .iter()
            .find_map(|a| addresses::outbound(&format!("{}:{}", a.host, a.port)))
            .map(|ip| ip.to_string()),
        advertised => Some(advertised.to_owned()),
    };
    let key = "Publishers.Types.Local.Port";
    LocalPublisherConfig {
        address: config.text("Publishers.Types.Local.Address").to_owned(),
        port: port(config, key),
        port_may_change: !config.is_set(key),
        reachable_address: reachable,
    }
}

/// A fresh seed.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn seed() -> u64 {
    uuid::Uuid::new_v4().as_u128() as u64
}
