//! Whether an image exists for this node's platform: asked of the daemon, and through it of the registry.
//!
//! What registries said is kept for a while, in bounds. Questions about the same image at the same time become one;
//! a registry that is slow delays only those who ask for its images.

use super::config::{DockerConfig, ManifestCacheConfig};
use super::daemon::{Connected, Platform};
use super::image::ImageName;
use super::{credentials, errors};
use bacalhau_images::Reference;
use bacalhau_model::{Error, error::code};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Longest time a registry has to answer a question.
const REGISTRY_LIMIT: Duration = Duration::from_secs(60);

/// Longest time the daemon has to say whether an image is there.
const DAEMON_LIMIT: Duration = Duration::from_secs(30);

/// Platforms that an image exists for.
type Platforms = Arc<Vec<Platform>>;

/// What registries said.
#[derive(Debug)]
pub(super) struct Manifests {
    config: ManifestCacheConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: HashMap<ImageName, Answer>,
    /// Questions on their way.
    asking: HashMap<ImageName, Arc<OnceCell<Result<Platforms, Error>>>>,
    cleaned: Instant,
}

#[derive(Debug)]
struct Answer {
    platforms: Platforms,
    at: Instant,
}

impl Manifests {
    pub(super) fn new(config: ManifestCacheConfig) -> Manifests {
        let state = State { answers: HashMap::new(), asking: HashMap::new(), cleaned: Instant::now() };
        Manifests { config, state: Mutex::new(state) }
    }

    /// Checks that the image can run here.
    ///
    /// # Errors
    /// A refusal when it exists for other platforms only; `ImageNotFound` when it cannot be had; retryable errors when
    /// that could not be found out.
    pub(super) async fn check(
        &self,
        daemon: &Connected,
        config: &DockerConfig,
        image: &ImageName,
    ) -> Result<(), Error> {
        match local(daemon, image).await? {
            Some(platform) if platform == daemon.platform => return Ok(()),
            // What a registry has may fit better; without one, this is all there is.
            Some(platform) if config.skip_pull || image.to_pull().is_none() => {
                return refuse(&daemon.platform, &[platform]);
            }
            None if config.skip_pull => {
                return Err(errors::no_image(image, "it is not on the node, and SKIP_IMAGE_PULL is set"));
            }
            _ => {}
        }
        if image.to_pull().is_none() {
            return Err(errors::no_image(image, "an image ID names only what is on the node already"));
        }
        let platforms = self.of_registry(daemon, config, image).await?;
        // Of a manifest in the format of OCI that is not in an index, Docker 20 tells nothing: the pull finds out.
        if platforms.is_empty() || platforms.contains(&daemon.platform) {
            return Ok(());
        }
        refuse(&daemon.platform, &platforms)
    }

    async fn of_registry(
        &self,
        daemon: &Connected,
        config: &DockerConfig,
        image: &ImageName,
    ) -> Result<Platforms, Error> {
        let question = {
            let mut state = self.lock();
            if let Some(answer) =
                state.answers.get(image).filter(|answer| answer.at.elapsed() < self.config.ttl)
            {
                return Ok(Arc::clone(&answer.platforms));
            }
            let cell = Arc::clone(state.asking.entry(image.clone()).or_default());
            Question { manifests: self, image, cell }
        };
        // Whoever goes away while asking leaves the question to the next. An error is told to all who wait, and not kept.
        let answer = question.cell.get_or_init(|| ask(daemon, config, image)).await.clone();
        let mut state = self.lock();
        state.asking.remove(image);
        if let Ok(platforms) = &answer {
            state.keep(image, platforms, &self.config);
        }
        drop(state);
        answer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question and who waits for its answer. The last who goes away without one takes it along.
struct Question<'a> {
    manifests: &'a Manifests,
    image: &'a ImageName,
    cell: Arc<OnceCell<Result<Platforms, Error>>>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut state = self.manifests.lock();
        // One is here, one in the map.
        if Arc::strong_count(&self.cell) <= 2
            && state.asking.get(self.image).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell))
        {
            state.asking.remove(self.image);
        }
    }
}

impl State {
    fn keep(&mut self, image: &ImageName, platforms: &Platforms, config: &ManifestCacheConfig) {
        let is_full = self.answers.len() >= config.size && !self.answers.contains_key(image);
        if is_full || self.cleaned.elapsed() > config.refresh {
            self.answers.retain(|_, answer| answer.at.elapsed() < config.ttl);
            self.cleaned = Instant::now();
        }
        while self.answers.len() >= config.size.max(1) && !self.answers.contains_key(image) {
            let oldest = self.answers.iter().min_by_key(|(_, answer)| answer.at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.answers.remove(&oldest);
        }
        if config.size > 0 {
            let answer = Answer { platforms: Arc::clone(platforms), at: Instant::now() };
            self.answers.insert(image.clone(), answer);
        }
    }
}

/// The platform of the image on this node, if it is here.
async fn local(daemon: &Connected, image: &ImageName) -> Result<Option<Platform>, Error> {
    let what = format!("looking for image {:?}", image.text());
    let found = tokio::time::timeout(DAEMON_LIMIT, daemon.docker.inspect_image(&image.exact())).await;
    match found.map_err(|_| errors::unreachable(&what, "it does not answer"))? {
        Ok(found) => {
            let (os, arch) = (found.os.unwrap_or_default(), found.architecture.unwrap_or_default());
            Ok(Some(Platform { os, arch }))
        }
        Err(error) if errors::is_not_found(&error) => Ok(None),
        Err(error) => Err(errors::explain(&what, &error)),
    }
}

async fn ask(daemon: &Connected, config: &DockerConfig, image: &ImageName) -> Result<Platforms, Error> {
    let credentials = credentials::find(&config.credentials, image).await;
    let what = format!("asking for image {:?}", image.text());
    let name = image.exact();
    let asked =
        tokio::time::timeout(REGISTRY_LIMIT, daemon.docker.inspect_registry_image(&name, credentials));
    let found = asked.await.map_err(|_| {
        let registry = image.reference().map(Reference::registry).unwrap_or_default();
        Error::new("Deadline", format!("{what}: registry {registry} does not answer"))
            .component(errors::COMPONENT)
            .hint("Check that the compute node reaches the registry")
            .retryable()
    })?;
    let found = found.map_err(|error| {
        let text = errors::chain(&error);
        if errors::is_not_found(&error) || errors::means_no_image(&text) {
            return errors::no_image(image, &text);
        }
        let error = errors::explain(&what, &error);
        if error.code == code::BAD_REQUEST { error } else { error.retryable() }
    })?;
    let platforms = found.platforms.into_iter().filter_map(|platform| {
        let platform =
            Platform { os: platform.os.unwrap_or_default(), arch: platform.architecture.unwrap_or_default() };
        // Attestations are listed as "unknown/unknown".
        (platform.os != "unknown").then_some(platform)
    });
    Ok(Arc::new(platforms.collect()))
}

fn refuse(own: &Platform, available: &[Platform]) -> Result<(), Error> {
    let list: Vec<String> = available.iter().map(Platform::to_string).collect();
    let message = format!(
        "this node does not support the available image platforms [{}] (supports [{own}])",
        list.join(" ")
    );
    Err(Error::new(code::BAD_REQUEST, message).component(errors::COMPONENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_in_bounds() {
        let config = ManifestCacheConfig { size: 3, ..ManifestCacheConfig::default() };
        let manifests = Manifests::new(config);
        let mut state = manifests.lock();
        let image = |n: usize| ImageName::parse(&format!("image-{n}")).unwrap();
        for n in 0..10 {
            state.keep(&image(n), &Platforms::default(), &config);
        }
        assert_eq!(state.answers.len(), 3);
        assert!(state.answers.contains_key(&image(9)));
        state.answers.clear();
        state.keep(&image(1), &Platforms::default(), &ManifestCacheConfig { size: 0, ..config });
        assert!(state.answers.is_empty());
    }

    #[test]
    fn a_refusal_says_what_there_is() {
        let platform = |arch: &str| Platform { os: "linux".into(), arch: arch.into() };
        let error = refuse(&platform("arm64"), &[platform("amd64"), platform("386")]).unwrap_err();
        assert_eq!(
            error.message,
            "this node does not support the available image platforms [linux/amd64 linux/386] (supports [linux/arm64])"
        );
        assert!(!error.retryable);
    }
}
