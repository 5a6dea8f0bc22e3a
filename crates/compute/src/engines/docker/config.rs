//! Settings of the engine: plain data, and where Docker's own variables are read.

use bacalhau_images::Credentials;
use std::time::Duration;

/// Where the daemon listens when nobody says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The daemon: `unix://<path>` or `tcp://<host>:<port>`.
    pub host: String,
    /// For registries.
    pub credentials: Credentials,
    /// Never pull: only images that are there run.
    pub skip_pull: bool,
    /// Most processes and threads of one container; 0 is no limit.
    pub pids_limit: i64,
    /// Time between SIGTERM and SIGKILL; whole seconds, as Docker has it.
    pub stop_grace: Duration,
    /// What registries said of images.
    pub manifests: ManifestCacheConfig,
    /// How much of a container's output Docker itself keeps, bytes. Only what was printed while the node was away is
    /// ever read from there.
    pub daemon_log_bytes: u64,
}

/// Bounds of what is kept of registries' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestCacheConfig {
    /// Images at most; 0 keeps nothing.
    pub size: usize,
    /// How long an answer is good.
    pub ttl: Duration,
    /// Between looks for answers that are not good any more.
    pub refresh: Duration,
}

impl Default for ManifestCacheConfig {
    /// Bacalhau 1.9's.
    fn default() -> ManifestCacheConfig {
        let hour = Duration::from_secs(3600);
        ManifestCacheConfig { size: 1000, ttl: hour, refresh: hour }
    }
}

impl Default for DockerConfig {
    /// Docker's usual socket, no credentials, 4096 processes, a second of grace, 20 MiB of output.
    fn default() -> DockerConfig {
        DockerConfig {
            host: DEFAULT_HOST.to_owned(),
            credentials: Credentials::none(),
            skip_pull: false,
            pids_limit: 4096,
            stop_grace: Duration::from_secs(1),
            manifests: ManifestCacheConfig::default(),
            daemon_log_bytes: 20 << 20,
        }
    }
}

impl DockerConfig {
    /// The defaults with what the environment says in Docker's variables (`DOCKER_HOST`, `DOCKER_CONFIG`) and
    /// Bacalhau's (`DOCKER_USERNAME` with `DOCKER_PASSWORD`, `SKIP_IMAGE_PULL`).
    pub fn from_env() -> DockerConfig {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let defaults = DockerConfig::default();
        DockerConfig {
            host: text("DOCKER_HOST").unwrap_or(defaults.host),
            credentials: Credentials::from_environment(),
            skip_pull: text("SKIP_IMAGE_PULL").is_some_and(|value| {
                !matches!(value.trim().to_ascii_lowercase().as_str(), "0" | "f" | "false" | "no")
            }),
            ..defaults
        }
    }
}
