//! From configuration to the options of the engines, and of what fetches images for them.

use crate::failure::fail;
use bacalhau_compute::engines::container::Backend;
use bacalhau_compute::engines::docker::{DockerConfig, ManifestCacheConfig};
use bacalhau_compute::engines::exec::ExecConfig;
use bacalhau_compute::engines::oci::OciConfig;
use bacalhau_config::{Config, DataDir};
use bacalhau_images::{Pinner, PinnerConfig, Registry, RegistryConfig, StoreConfig};
use bacalhau_model::{Error, quantity};
use std::path::PathBuf;
use std::time::Duration;

/// How registries are used.
fn registry(config: &Config) -> RegistryConfig {
    RegistryConfig {
        insecure: config.list("Images.InsecureRegistries").to_vec(),
        ..RegistryConfig::default()
    }
}

/// Asks registries at submit which image a tag stands for, unless that is switched off.
pub(super) fn pinner(config: &Config) -> Result<Option<Pinner>, Error> {
    if config.bool("Orchestrator.PinImages.Disabled") {
        return Ok(None);
    }
    let usual = PinnerConfig::default();
    let patience = duration_or(config, "Orchestrator.PinImages.Timeout", usual.patience);
    Ok(Some(Pinner::new(Registry::new(registry(config))?, PinnerConfig { patience, ..usual })))
}

fn duration_or(config: &Config, key: &str, usual: Duration) -> Duration {
    Some(config.duration(key)).filter(|duration| !duration.is_zero()).unwrap_or(usual)
}

/// `Engines.Types.OCI.*` and `Images.*`; what is empty stays as usual.
pub(super) fn oci(config: &Config, dir: &DataDir) -> Result<OciConfig, Error> {
    let usual = OciConfig::new(&dir.compute());
    let text = |key: &str| Some(config.text(key)).filter(|text| !text.is_empty());
    let bytes = |key: &str, usual: u64| {
        let wrong = |text| fail(format!("{key}: {text:?} is no size")).hint("Write an amount like 50GiB");
        text(key).map_or(Ok(usual), |text| quantity::parse_bytes(text).ok_or_else(|| wrong(text)))
    };
    Ok(OciConfig {
        runtime: text("Engines.Types.OCI.Runtime").map(PathBuf::from),
        pids_limit: match config.int("Engines.Types.OCI.PidsLimit") {
            0 => usual.pids_limit,
            limit => limit.max(0),
        },
        grace: duration_or(config, "Engines.Types.OCI.StopTimeout", usual.grace),
        subnet: text("Engines.Types.OCI.Subnet").map_or(usual.subnet, str::to_owned),
        registry: registry(config),
        store: StoreConfig {
            max_bytes: bytes("Images.MaxSize", usual.store.max_bytes)?,
            max_image_bytes: bytes("Images.MaxImageSize", usual.store.max_image_bytes)?,
            tag_validity: config.duration("Engines.Types.Docker.ManifestCache.TTL"),
        },
        ..usual
    })
}

/// `Engines.Types.Docker.Backend`.
pub(super) fn docker_backend(config: &Config) -> Result<Backend, Error> {
    let key = "Engines.Types.Docker.Backend";
    let text = config.text(key);
    Backend::parse(text).ok_or_else(|| {
        fail(format!("{key}: {text:?} is none of auto, docker, oci")).hint(format!("Correct {key}"))
    })
}

/// The engine `exec`, if it is wanted.
pub(super) fn exec(config: &Config, dir: &DataDir) -> Option<ExecConfig> {
    config.bool("Engines.Types.Exec.Enabled").then(|| ExecConfig {
        programs: config.list("Engines.Types.Exec.AllowListedPrograms").to_vec(),
        user: config.text("Engines.Types.Exec.User").to_owned(),
        group: config.text("Engines.Types.Exec.Group").to_owned(),
        ..ExecConfig::new(dir.compute().join("exec"))
    })
}

/// `Engines.Types.Docker.*`, and what Docker's own variables say.
pub(super) fn docker(config: &Config) -> DockerConfig {
    let cache = |key: &str| format!("Engines.Types.Docker.ManifestCache.{key}");
    DockerConfig {
        pids_limit: config.int("Engines.Types.Docker.PidsLimit"),
        stop_grace: config.duration("Engines.Types.Docker.StopTimeout"),
        manifests: ManifestCacheConfig {
            size: usize::try_from(config.int(&cache("Size"))).unwrap_or(0),
            ttl: config.duration(&cache("TTL")),
            refresh: config.duration(&cache("Refresh")),
        },
        ..DockerConfig::from_env()
    }
}
