//! Notes at submit which image a tag stands for, so that all parts of a job run the same one.

use crate::registry::Registry;
use crate::{Digest, reference};
use bacalhau_model::Job;
use bacalhau_model::job::meta;
use oci_client::Reference;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Engines whose parameter `Image` is the name of an image.
const ENGINES: [&str; 2] = ["docker", "oci"];

/// Engine whose parameter `EntryModule` may be a reference, and how that begins.
const WASM: (&str, &str) = ("wasm", "oci://");

/// The image that an execution of `job` runs: the digest noted at submit counts, unless the name has one itself.
#[must_use]
pub fn pinned(image: Reference, job: &Job) -> Reference {
    match job.meta.get(meta::IMAGE_DIGEST).and_then(|text| Digest::parse(text)) {
        Some(digest) if image.digest().is_none() => image.clone_with_digest(digest.to_string()),
        _ => image,
    }
}

/// Settings of [`Pinner`].
#[derive(Clone, Copy, Debug)]
pub struct PinnerConfig {
    /// Time a submission may be held up by a registry.
    pub patience: Duration,
    /// How long an answer is used again; a failure is remembered as long as `patience`, at least.
    pub validity: Duration,
    /// Answers kept at most.
    pub entries: usize,
}

impl Default for PinnerConfig {
    /// 3 s, 2 s, 1000 names: many submissions at once ask once, and who pushes an image and runs it gets that one.
    fn default() -> PinnerConfig {
        PinnerConfig { patience: Duration::from_secs(3), validity: Duration::from_secs(2), entries: 1_000 }
    }
}

/// Finds digests for submissions. Never fails one: a registry that cannot be asked leaves the tag as it is.
pub struct Pinner {
    registry: Registry,
    config: PinnerConfig,
    known: Mutex<BTreeMap<String, (Option<Digest>, Instant)>>,
}

impl Pinner {
    /// With these settings.
    pub fn new(registry: Registry, config: PinnerConfig) -> Pinner {
        Pinner { registry, config, known: Mutex::default() }
    }

    /// Notes the digest of the job's image in its metadata. The job's own words stay as they are.
    pub async fn pin(&self, job: &mut Job) {
        if let Some(digest) = self.digest_for(job).await {
            job.meta.insert(meta::IMAGE_DIGEST.to_owned(), digest.to_string());
        }
    }

    /// The digest of the job's image, if it has one that is not in its name already.
    async fn digest_for(&self, job: &Job) -> Option<Digest> {
        let engine = &job.task()?.engine;
        let name = if ENGINES.iter().any(|name| engine.is_type(name)) {
            engine.param("Image")?.as_str()?
        } else if engine.is_type(WASM.0) {
            engine.param("EntryModule")?.as_str()?.trim().strip_prefix(WASM.1)?
        } else {
            return None;
        };
        let image = reference::parse(name).ok()?;
        if image.digest().is_some() {
            return None;
        }
        let name = image.to_string();
        if let Some(known) = self.recall(&name) {
            return known;
        }
        let asked = tokio::time::timeout(self.config.patience, self.registry.resolve(&image)).await;
        let found = match asked {
            Ok(Ok(digest)) => Some(digest),
            Ok(Err(error)) => {
                tracing::debug!(image = %name, %error, "image not pinned: each node looks the tag up itself");
                None
            }
            Err(_) => {
                tracing::debug!(image = %name, "image not pinned: the registry does not answer in time");
                None
            }
        };
        self.remember(name, found.clone());
        found
    }

    fn recall(&self, name: &str) -> Option<Option<Digest>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, until) = known.get(name)?;
        (Instant::now() < *until).then(|| digest.clone())
    }

    fn remember(&self, name: String, digest: Option<Digest>) {
        let validity = if digest.is_some() {
            self.config.validity
        } else {
            self.config.validity.min(Duration::from_secs(10)).max(self.config.patience)
        };
        let Some(until) = Instant::now().checked_add(validity) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.config.entries {
            let now = Instant::now();
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < self.config.entries {
            known.insert(name, (digest, until));
        }
    }
}
