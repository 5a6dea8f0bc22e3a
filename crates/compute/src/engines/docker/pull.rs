//! Fetches images. All who want the same image at the same time share one pull; it is given up when nobody wants it
//! any more.

use super::config::DockerConfig;
use super::daemon::Connected;
use super::image::ImageName;
use super::{credentials, errors};
use crate::engines::Progress;
use bacalhau_model::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Between two words about progress.
const STEP_PERCENT: u64 = 25;

/// Pulls under way. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulls {
    running: Arc<Mutex<HashMap<String, Arc<watch::Sender<Pull>>>>>,
}

/// How far a pull is.
#[derive(Clone, Debug)]
enum Pull {
    Running { percent: u64 },
    Done(Result<(), Error>),
}

impl Pulls {
    /// Fetches an image. Dropping the future gives it up, at once.
    pub(super) async fn pull(
        &self,
        daemon: &Arc<Connected>,
        config: &Arc<DockerConfig>,
        image: &ImageName,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut pull = self.join(daemon, config, image);
        let name = image.text();
        progress.preparing(format!("Pulling image {name:?}"));
        let mut told = 0;
        loop {
            let now = pull.borrow_and_update().clone();
            match now {
                Pull::Done(Ok(())) => {
                    progress.preparing(format!("Pulled image {name:?}"));
                    return Ok(());
                }
                Pull::Done(Err(error)) => return Err(error),
                Pull::Running { percent } if percent > told && percent < 100 => {
                    told = percent;
                    progress.preparing(format!("Pulling image {name:?}: {percent}%"));
                }
                Pull::Running { .. } => {}
            }
            if pull.changed().await.is_err() {
                return Err(errors::internal(format!("pulling image {name:?} broke down")).retryable());
            }
        }
    }

    /// The pull of this image, begun if it is not under way.
    fn join(
        &self,
        daemon: &Arc<Connected>,
        config: &Arc<DockerConfig>,
        image: &ImageName,
    ) -> watch::Receiver<Pull> {
        let key = image.exact();
        let mut running = self.lock();
        if let Some(pull) = running.get(&key) {
            return pull.subscribe();
        }
        let (tell, pull) = watch::channel(Pull::Running { percent: 0 });
        let tell = Arc::new(tell);
        running.insert(key.clone(), Arc::clone(&tell));
        let (daemon, config, image) = (Arc::clone(daemon), Arc::clone(config), image.clone());
        let entry = Entry { pulls: self.clone(), key, tell };
        tokio::spawn(async move {
            let work = fetch(&daemon, &config, &image, &entry.tell);
            tokio::pin!(work);
            let result = loop {
                tokio::select! {
                    result = &mut work => break result,
                    () = entry.tell.closed() => {
                        if entry.give_up() {
                            return;
                        }
                    }
                }
            };
            entry.finish(result);
        });
        pull
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<watch::Sender<Pull>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pull's place among those under way. However its task ends, those who wait are told.
struct Entry {
    pulls: Pulls,
    key: String,
    tell: Arc<watch::Sender<Pull>>,
}

impl Entry {
    /// Leaves, unless somebody has joined meanwhile; who joins does so under the lock.
    fn give_up(&self) -> bool {
        let mut running = self.pulls.lock();
        let unwanted = self.tell.receiver_count() == 0;
        if unwanted {
            running.remove(&self.key);
        }
        unwanted
    }

    fn finish(&self, result: Result<(), Error>) {
        self.pulls.lock().remove(&self.key);
        self.tell.send_replace(Pull::Done(result));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.pulls.lock();
        if running.get(&self.key).is_some_and(|tell| Arc::ptr_eq(tell, &self.tell)) {
            running.remove(&self.key);
        }
    }
}

async fn fetch(
    daemon: &Connected,
    config: &DockerConfig,
    image: &ImageName,
    tell: &watch::Sender<Pull>,
) -> Result<(), Error> {
    let Some((name, version)) = image.to_pull() else {
        return Err(errors::no_image(image, "an image ID names only what is on the node already"));
    };
    let credentials = credentials::find(&config.credentials, image).await;
    let options = CreateImageOptionsBuilder::new()
        .from_image(&name)
        .tag(version)
        .platform(&daemon.platform.to_string())
        .build();
    let mut stream = daemon.docker.create_image(Some(options), None, credentials);
    let mut layers = Layers::default();
    while let Some(line) = stream.next().await {
        let line = line.map_err(|error| explain(image, &error))?;
        let Some(id) = line.id else { continue };
        let detail = line.progress_detail.unwrap_or_default();
        layers.note(&id, line.status.as_deref().unwrap_or_default(), detail.current, detail.total);
        let percent = layers.percent() / STEP_PERCENT * STEP_PERCENT;
        tell.send_if_modified(|pull| {
            let further = matches!(pull, Pull::Running { percent: told } if *told < percent);
            if further {
                *pull = Pull::Running { percent };
            }
            further
        });
    }
    Ok(())
}

fn explain(image: &ImageName, error: &bollard::errors::Error) -> Error {
    let text = errors::chain(error);
    if errors::is_not_found(error) || errors::means_no_image(&text) {
        return errors::no_image(image, &text);
    }
    if text.contains("no matching manifest") {
        return errors::no_image(image, &text)
            .hint("The image exists, but not for the platform of this node; see its registry for platforms");
    }
    let mut error = errors::explain(&format!("pulling image {:?}", image.text()), error).retryable();
    if error.hint.is_empty() {
        error = error.hint("Check that the compute node reaches the registry, then run the job again");
    }
    error
}

/// Bytes of the layers that are being fetched.
#[derive(Debug, Default)]
struct Layers {
    layers: HashMap<String, (u64, u64)>,
}

impl Layers {
    fn note(&mut self, id: &str, status: &str, current: Option<i64>, total: Option<i64>) {
        let bytes = |value: Option<i64>| value.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        match status {
            "Downloading" if bytes(total) > 0 => {
                self.layers.insert(id.to_owned(), (bytes(current), bytes(total)));
            }
            "Download complete" | "Pull complete" => {
                if let Some((current, total)) = self.layers.get_mut(id) {
                    *current = *total;
                }
            }
            _ => {}
        }
    }

    fn percent(&self) -> u64 {
        let (current, total) =
            self.layers.values().fold((0u64, 0u64), |(c, t), (current, total)| (c + current, t + total));
        current.saturating_mul(100).checked_div(total).unwrap_or(0).min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_of_all_layers() {
        let mut layers = Layers::default();
        assert_eq!(layers.percent(), 0);
        layers.note("a", "Downloading", Some(50), Some(100));
        layers.note("b", "Downloading", Some(0), Some(100));
        layers.note("c", "Waiting", None, None);
        assert_eq!(layers.percent(), 25);
        layers.note("a", "Download complete", None, None);
        layers.note("b", "Downloading", Some(-1), Some(100));
        assert_eq!(layers.percent(), 50);
        layers.note("b", "Pull complete", None, None);
        assert_eq!(layers.percent(), 100);
    }
}
