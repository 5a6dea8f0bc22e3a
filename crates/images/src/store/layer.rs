//! One layer: fetched, checked, unpacked, and put in its place in one step.

use super::ImageStore;
use super::noted_size;
use super::unpack::{Limits, Room, unpack};
use crate::digest::Digest;
use crate::error;
use crate::manifest::Descriptor;
use crate::registry::Registry;
use crate::tree::remove_tree;
use bacalhau_model::Error;
use oci_client::Reference;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Seek};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Files of one layer at most.
const MOST_ENTRIES: u64 = 5_000_000;

/// Bytes of the names of one layer's folders at most; they are held in memory. The largest images have some MiB.
const MOST_NAMES: usize = 128 << 20;

/// A folder of the store's `tmp` that goes away by itself.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn new(store: &Path) -> io::Result<Temporary> {
        let path = store.join("tmp").join(uuid::Uuid::new_v4().simple().to_string());
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Temporary { path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a folder; the next start tries again");
        }
    }
}

impl ImageStore {
    /// Makes sure that a layer is here. Who comes second waits for the first.
    pub(super) async fn fetch(
        &self,
        registry: &Registry,
        image: &Reference,
        (blob, diff_id): (&Descriptor, &Digest),
        room: &Arc<Room>,
        received: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let turn = self.turn(image.registry(), diff_id);
        let _turn = turn.lock().await;
        let place = self.inner.layer_folder(diff_id);
        if place.is_dir() {
            room.take(noted_size(&place)).map_err(|reason| error::broken(&image.to_string(), reason))?;
            received(blob.size);
            return Ok(());
        }
        let explain = |e: io::Error| error::failed(format!("cannot store a layer of image {image}: {e}"));
        let temporary = Temporary::new(&self.inner.folder).map_err(explain)?;
        let path = temporary.path.join("blob");
        let file =
            fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(explain)?;
        let mut writer = tokio::io::BufWriter::with_capacity(128 << 10, tokio::fs::File::from_std(file));
        registry.blob(image, blob, &mut writer, received).await?;
        let file = writer.into_inner().into_std().await;
        let (store, diff_id, name) = (self.clone(), diff_id.clone(), image.to_string());
        let limits = Limits { room: Arc::clone(room), entries: MOST_ENTRIES, names: MOST_NAMES };
        // It goes on if nobody waits any more, and the layer is there for the next one.
        let unpacking =
            tokio::task::spawn_blocking(move || store.unpack_layer(&temporary, file, &diff_id, &limits));
        let unpacked = unpacking.await.map_err(|e| error::failed(format!("unpacking broke down: {e}")))?;
        unpacked.map_err(|reason| error::broken(&name, reason))
    }

    fn turn(&self, registry: &str, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let key = (registry.to_owned(), diff_id.clone());
        let mut state = self.inner.lock();
        state.fetching.retain(|_, waiting| waiting.strong_count() > 0);
        if let Some(turn) = state.fetching.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        state.fetching.insert(key, Arc::downgrade(&turn));
        turn
    }

    fn unpack_layer(
        &self,
        temporary: &Temporary,
        mut file: File,
        diff_id: &Digest,
        limits: &Limits,
    ) -> Result<(), String> {
        let explain = |e: io::Error| format!("cannot store a layer: {e}");
        let ready = temporary.path.join("layer");
        let files = ready.join("fs");
        DirBuilder::new().recursive(true).mode(0o755).create(&files).map_err(explain)?;
        file.rewind().map_err(explain)?;
        let size = unpack(file, &files, diff_id, limits)?;
        fs::write(ready.join("size"), size.to_string()).map_err(explain)?;
        // All of its files at once; one fsync for each would take minutes.
        let folder = File::open(&ready).map_err(explain)?;
        rustix::fs::syncfs(&folder).map_err(|e| explain(e.into()))?;
        let place = self.inner.layer_folder(diff_id);
        match fs::rename(&ready, &place) {
            // Somebody was quicker after all; it is the same.
            Err(_) if place.is_dir() => Ok(()),
            done => done.map_err(explain),
        }?;
        File::open(self.inner.sub("layers")).and_then(|layers| layers.sync_all()).map_err(explain)
    }
}
