//! Images on disk, unpacked: one folder per layer, named after its content, shared by all images that have it.
//!
//! Below the store's folder: `layers/<digest>/fs` with the files and `layers/<digest>/size`, `names/` with what each
//! name stands for, `tmp/` for what is not finished. A layer appears whole or not at all: it is unpacked in `tmp`,
//! brought to disk, and renamed. The folder is the user's alone (0700): layers hold set-user-ID programs.

mod collect;
mod entries;
mod layer;
mod record;
mod root;
mod unpack;

pub use root::Root;

use crate::digest::Digest;
use crate::error;
use crate::manifest::RunConfig;
use crate::registry::{Described, Registry};
use crate::tree::remove_tree;
use bacalhau_model::Error;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use oci_client::Reference;
use record::Record;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unpack::Room;

/// Layers of one image that are fetched at the same time.
const AT_ONCE: usize = 3;

/// How often the time of an image's last use is written down.
const NOTE_USE: Duration = Duration::from_secs(600);

/// Settings of [`ImageStore`].
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Bytes of all layers together; the least recently used images go when there are more. Images in use stay.
    pub max_bytes: u64,
    /// Bytes of one image, compressed and unpacked, at most.
    pub max_image_bytes: u64,
    /// How long a tag is believed before its registry is asked again. Digests are believed for ever.
    pub tag_validity: Duration,
}

impl Default for StoreConfig {
    /// 50 GiB, 100 GiB, one hour (`Engines.Types.Docker.ManifestCache.TTL`).
    fn default() -> StoreConfig {
        StoreConfig {
            max_bytes: 50 << 30,
            max_image_bytes: 100 << 30,
            tag_validity: Duration::from_secs(3600),
        }
    }
}

/// Layers that stay on disk until this is dropped.
#[derive(Clone, Debug)]
pub struct HeldLayers {
    _lease: Arc<Lease>,
}

/// Told while an image is fetched: bytes that came and bytes there are, compressed. Must not block.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The store. Clones share everything.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    config: StoreConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By full name.
    records: BTreeMap<String, Record>,
    /// Layers that somebody uses or is about to, and how many do.
    leases: BTreeMap<Digest, usize>,
    /// One at a time fetches a layer from a registry; the others wait and find it. Nobody waits for another registry,
    /// which may be as slow as it likes.
    fetching: BTreeMap<(String, Digest), Weak<tokio::sync::Mutex<()>>>,
}

/// An image that is lent: its layers stay on disk until this is dropped.
#[derive(Clone, Debug)]
pub struct Image {
    /// What its name stands for.
    pub digest: Option<Digest>,
    /// How it wants to be run.
    pub config: RunConfig,
    /// Folders of its layers, lowest first.
    pub layers: Vec<PathBuf>,
    _lease: Arc<Lease>,
}

struct Lease {
    inner: Arc<Inner>,
    layers: Vec<Digest>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.layers).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        for layer in &self.layers {
            match state.leases.get_mut(layer) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(state.leases.remove(layer)),
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sub(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn layer_folder(&self, layer: &Digest) -> PathBuf {
        self.folder.join("layers").join(layer.hex())
    }
}

impl ImageStore {
    /// Opens or creates the store; removes what a former life did not finish. Blocks.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(folder: impl Into<PathBuf>, config: StoreConfig) -> io::Result<ImageStore> {
        let folder = folder.into();
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&folder)?;
        let temporary = folder.join("tmp");
        match remove_tree(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        for name in ["tmp", "layers", "names"] {
            make(&folder.join(name))?;
        }
        let records = record::read_all(&folder.join("names"))?;
        let state = Mutex::new(State { records, ..State::default() });
        Ok(ImageStore { inner: Arc::new(Inner { folder, config, state }) })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// An image that is here and need not be looked up: its name has a digest, or the tag was looked up lately.
    pub fn cached(&self, image: &Reference) -> Option<Image> {
        self.find(image, false)
    }

    fn find(&self, image: &Reference, stale_too: bool) -> Option<Image> {
        let now = now();
        let lease = {
            let mut state = self.inner.lock();
            let name = match image.digest() {
                Some(digest) => state.records.values().find(|record| record.is(digest))?.name.clone(),
                None => {
                    let name = image.to_string();
                    let record = state.records.get(&name)?;
                    let fresh = now.saturating_sub(record.checked) < self.inner.config.tag_validity.as_secs();
                    (fresh || stale_too).then_some(name)?
                }
            };
            let record = state.records.get_mut(&name)?;
            let noted = now.saturating_sub(record.used) < NOTE_USE.as_secs();
            if !noted {
                record.used = now;
            }
            let record = record.clone();
            (self.lease(&mut state, record.layers()), record, noted)
        };
        let (lease, record, noted) = lease;
        if !noted {
            self.note_use(record.clone());
        }
        self.lend(lease, record.digest(), record.config)
    }

    /// Writes a record in the background, so that nobody waits for the disk.
    fn note_use(&self, record: Record) {
        let folder = self.inner.sub("names");
        let write = move || {
            if let Err(error) = record.write(&folder) {
                tracing::warn!(image = %record.name, %error, "cannot note that an image was used");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }

    fn lease(&self, state: &mut State, layers: Vec<Digest>) -> Lease {
        for layer in &layers {
            *state.leases.entry(layer.clone()).or_default() += 1;
        }
        Lease { inner: Arc::clone(&self.inner), layers }
    }

    /// Holds layers by their folders ([`Image::layers`]), for something that a former life of the node started and that
    /// still uses them. What is no layer of this store is left out.
    pub fn hold(&self, layers: &[PathBuf]) -> HeldLayers {
        let digest = |path: &PathBuf| {
            let hex = path.strip_prefix(self.inner.sub("layers")).ok()?.parent()?.to_str()?;
            Digest::parse(&format!("sha256:{hex}"))
        };
        let layers = layers.iter().filter_map(digest).collect();
        HeldLayers { _lease: Arc::new(self.lease(&mut self.inner.lock(), layers)) }
    }

    /// `None` when a layer is missing.
    fn lend(&self, lease: Lease, digest: Option<Digest>, config: RunConfig) -> Option<Image> {
        let layers: Vec<PathBuf> =
            lease.layers.iter().map(|l| self.inner.layer_folder(l).join("fs")).collect();
        layers.iter().all(|path| path.is_dir()).then(|| Image {
            digest,
            config,
            layers,
            _lease: Arc::new(lease),
        })
    }

    /// An image, fetched if it is not here. When its registry cannot be asked what a tag stands for, the answer of
    /// last time counts.
    ///
    /// # Errors
    /// See [`Registry::describe`]; a layer is damaged or too large; the disk fails.
    pub async fn get(
        &self,
        registry: &Registry,
        image: &Reference,
        progress: Progress<'_>,
    ) -> Result<Image, Error> {
        if let Some(found) = self.cached(image) {
            return Ok(found);
        }
        let described = match registry.describe(image).await {
            Ok(described) => described,
            Err(error) if error.retryable => {
                let Some(found) = self.find(image, true) else { return Err(error) };
                tracing::warn!(%image, %error, "using the image that the tag stood for last time");
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        let name = image.to_string();
        if described.size() > self.inner.config.max_image_bytes {
            let (size, most) = (described.size(), self.inner.config.max_image_bytes);
            return Err(error::broken(
                &name,
                format!("its layers have {size} bytes, this node takes {most}"),
            ));
        }
        // Before anything is looked for, so that nothing of it is collected meanwhile.
        let lease = {
            let layers = described.layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
            self.lease(&mut self.inner.lock(), layers)
        };
        self.fetch_layers(registry, image, &described, progress).await?;
        let record = Record::new(name.clone(), &described, now());
        let (noted, names) = (record.clone(), self.inner.sub("names"));
        let written = tokio::task::spawn_blocking(move || noted.write(&names)).await;
        let written = written.map_err(io::Error::other).flatten();
        written.map_err(|e| error::failed(format!("cannot note image {name}: {e}")))?;
        self.inner.lock().records.insert(name.clone(), record);
        let config = described.config.config.clone();
        let lent = self.lend(lease, Some(described.digest), config);
        self.collect().await;
        lent.ok_or_else(|| error::failed(format!("a layer of image {name} disappeared")))
    }

    async fn fetch_layers(
        &self,
        registry: &Registry,
        image: &Reference,
        described: &Described,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let total = described.size();
        let received = std::sync::atomic::AtomicU64::new(0);
        let tell = |bytes: u64| {
            let before = received.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            progress(before.saturating_add(bytes).min(total), total);
        };
        let room = Room::new(self.inner.config.max_image_bytes);
        let mut fetches = Vec::with_capacity(described.layers.len());
        for (blob, diff_id) in &described.layers {
            fetches.push(self.fetch(registry, image, (blob, diff_id), &room, &tell).boxed());
        }
        futures_util::stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
    }
}

/// Bytes that a layer in its place takes.
fn noted_size(layer: &Path) -> u64 {
    fs::read_to_string(layer.join("size")).unwrap_or_default().trim().parse().unwrap_or(0)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
