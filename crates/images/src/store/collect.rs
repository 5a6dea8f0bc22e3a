//! Makes room: the images that were not used for the longest time go, those in use stay.

use super::{ImageStore, State, noted_size};
use crate::digest::Digest;
use crate::tree::remove_tree;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

impl ImageStore {
    /// Removes images until the rest takes no more than [`super::StoreConfig::max_bytes`]. Gives the bytes that are
    /// left.
    pub async fn collect(&self) -> u64 {
        let store = self.clone();
        // The outcome of a panic in there is that nothing was removed; the next pull tries again.
        tokio::task::spawn_blocking(move || store.collect_now()).await.unwrap_or_default()
    }

    fn collect_now(&self) -> u64 {
        let sizes = self.sizes();
        let mut total = sizes.values().fold(0u64, |sum, size| sum.saturating_add(*size));
        if total <= self.inner.config.max_bytes {
            return total;
        }
        let mut removed = Vec::new();
        {
            // Under the lock layers only change their place, which is quick; so nobody can lease them meanwhile.
            let mut state = self.inner.lock();
            self.remove_orphans(&state, &sizes, &mut total, &mut removed);
            let mut oldest: Vec<(u64, String)> =
                state.records.values().map(|record| (record.used, record.name.clone())).collect();
            oldest.sort();
            for (_, name) in oldest {
                if total <= self.inner.config.max_bytes {
                    break;
                }
                let Some(record) = state.records.get(&name) else { continue };
                if record.layers().iter().any(|layer| state.leases.contains_key(layer)) {
                    continue;
                }
                if let Err(error) = record.remove(&self.inner.sub("names")) {
                    tracing::warn!(image = %name, %error, "cannot remove an image");
                    continue;
                }
                state.records.remove(&name);
                self.remove_orphans(&state, &sizes, &mut total, &mut removed);
            }
        }
        for path in removed {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a layer; the next start tries again");
            }
        }
        total
    }

    /// Takes away the layers that belong to no image and that nobody uses.
    fn remove_orphans(
        &self,
        state: &State,
        sizes: &BTreeMap<Digest, u64>,
        total: &mut u64,
        removed: &mut Vec<PathBuf>,
    ) {
        let used: BTreeSet<Digest> = state.records.values().flat_map(super::Record::layers).collect();
        for (layer, size) in sizes {
            let folder = self.inner.layer_folder(layer);
            if used.contains(layer) || state.leases.contains_key(layer) || !folder.exists() {
                continue;
            }
            let away = self.inner.sub("tmp").join(uuid::Uuid::new_v4().simple().to_string());
            match fs::rename(&folder, &away) {
                Ok(()) => {
                    *total = total.saturating_sub(*size);
                    removed.push(away);
                }
                Err(error) => tracing::warn!(%layer, %error, "cannot remove a layer"),
            }
        }
    }

    /// Bytes of every layer.
    fn sizes(&self) -> BTreeMap<Digest, u64> {
        let entries = fs::read_dir(self.inner.sub("layers")).into_iter().flatten().flatten();
        let sized = entries.filter_map(|entry| {
            let digest = Digest::parse(&format!("sha256:{}", entry.file_name().to_str()?))?;
            Some((digest, noted_size(&entry.path())))
        });
        sized.collect()
    }
}
