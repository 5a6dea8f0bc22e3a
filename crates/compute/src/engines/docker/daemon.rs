//! The connection to the Docker daemon: made when first needed, made again when it broke, and whether it answers.

use super::errors;
use bacalhau_model::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer to "does it answer" is good.
const FRESH: Duration = Duration::from_secs(4);

/// Longest time somebody who asks waits for the daemon. One that hangs counts as not available until it answers.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longest time the daemon has to answer the first questions of a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest time of a request, in seconds. To create a container can take long on a busy disk.
const REQUEST_LIMIT: u64 = 300;

/// A way to the daemon. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: String,
    connected: Mutex<Option<Arc<Connected>>>,
    seen: watch::Sender<Seen>,
}

/// What the last look at the daemon found.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Option<Instant>,
    answers: bool,
    looking: bool,
    /// Somebody met a sign that it does not answer any more.
    doubted: bool,
}

impl Seen {
    fn is_fresh(&self) -> bool {
        !self.doubted && self.at.is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// A daemon that answered, and what it is.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) docker: Docker,
    /// Such as `Docker 20.10.24`.
    pub(super) version: Option<String>,
    /// Operating system and architecture of what it runs, in Go's words.
    pub(super) platform: Platform,
    /// Cores it has.
    pub(super) cpus: f64,
    /// Containers go on without it, and it finds them again.
    pub(super) live_restore: bool,
    /// Its API knows platforms of containers (1.41).
    pub(super) knows_platforms: bool,
}

/// What an image is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) arch: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)
    }
}

impl Daemon {
    pub(super) fn new(host: &str) -> Daemon {
        let seen = watch::Sender::new(Seen::default());
        let shared = Shared { host: host.to_owned(), connected: Mutex::new(None), seen };
        Daemon { shared: Arc::new(shared) }
    }

    /// The connection.
    ///
    /// # Errors
    /// `Unavailable`, retryable: the daemon does not answer.
    pub(super) async fn get(&self) -> Result<Arc<Connected>, Error> {
        if let Some(connected) = self.lock().clone() {
            return Ok(connected);
        }
        let connected = Arc::new(connect(&self.shared.host).await?);
        *self.lock() = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// The connection, after a check that it still is one: the daemon may be another one since.
    pub(super) async fn get_anew(&self) -> Result<Arc<Connected>, Error> {
        let known = self.lock().clone();
        if let Some(connected) = known {
            let ping = tokio::time::timeout(CONNECT_LIMIT, connected.docker.ping()).await;
            if matches!(ping, Ok(Ok(_))) {
                return Ok(connected);
            }
            *self.lock() = None;
        }
        self.get().await
    }

    /// Whether it answers, as of a few seconds ago at most. Waits only briefly.
    pub(super) async fn answers(&self) -> bool {
        let mut seen = self.shared.seen.subscribe();
        if seen.borrow_and_update().is_fresh() {
            return seen.borrow().answers;
        }
        let mut begin = false;
        self.shared.seen.send_if_modified(|seen| {
            begin = !seen.looking;
            seen.looking = true;
            false
        });
        if begin {
            let daemon = self.clone();
            tokio::spawn(async move { daemon.look().await });
        }
        // The guard of the value must not live longer than this line.
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(Seen::is_fresh)).await;
        found.is_ok_and(|seen| seen.is_ok_and(|seen| seen.answers))
    }

    /// It did not answer somebody: whoever asks next whether it does has to look.
    pub(super) fn doubt(&self) {
        self.shared.seen.send_modify(|seen| seen.doubted = true);
    }

    /// What it said of its version when it was last connected to.
    pub(super) fn version(&self) -> Option<String> {
        self.lock().as_ref().and_then(|connected| connected.version.clone())
    }

    /// Asks the daemon, and connects again when it is another one or a new one.
    async fn look(&self) {
        let answers =
            self.get_anew().await.inspect_err(|e| tracing::debug!(error = %e, "no Docker daemon")).is_ok();
        self.shared.seen.send_modify(|seen| {
            if seen.at.is_none() || seen.answers != answers {
                tracing::info!(host = %self.shared.host, answers, "Docker daemon");
            }
            *seen = Seen { at: Some(Instant::now()), answers, looking: false, doubted: false };
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connected>>> {
        self.shared.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(host: &str) -> Result<Connected, Error> {
    let what = || format!("connecting to Docker at {host}");
    let docker = match host.strip_prefix("unix://") {
        Some(path) => Docker::connect_with_unix(path, REQUEST_LIMIT, API_DEFAULT_VERSION),
        None => Docker::connect_with_host(host),
    };
    let docker = docker.map_err(|e| errors::explain(&what(), &e))?.with_request_modifier(url_safe_login);
    let questions = async {
        let docker = docker.negotiate_version().await?;
        let (version, info) = tokio::try_join!(docker.version(), docker.info())?;
        Ok((docker, version, info))
    };
    let answers = tokio::time::timeout(CONNECT_LIMIT, questions).await;
    let (docker, version, info) = answers
        .map_err(|_| errors::unreachable(&what(), "it does not answer"))?
        .map_err(|e| errors::explain(&what(), &e))?;
    let spoken = docker.client_version();
    let platform = Platform { os: version.os.unwrap_or_default(), arch: version.arch.unwrap_or_default() };
    Ok(Connected {
        version: version.version.map(|version| format!("Docker {version}")),
        platform,
        cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).map_or(f64::MAX, f64::from),
        live_restore: info.live_restore_enabled.unwrap_or(false),
        knows_platforms: (spoken.major_version, spoken.minor_version) >= (1, 41),
        docker,
    })
}

/// Docker reads the header with credentials in the alphabet of URLs, and drops what it cannot read; bollard writes the
/// usual alphabet.
fn url_safe_login(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
        let text = value.to_str().unwrap_or_default().replace('+', "-").replace('/', "_");
        if let Ok(mut safe) = hyper::header::HeaderValue::from_str(&text) {
            safe.set_sensitive(true);
            *value = safe;
        }
    }
    request
}
