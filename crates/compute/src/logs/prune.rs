//! Removes logs that are too old or too many.

use super::LogStore;
use super::segments::Segment;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, SystemTime};

/// A log as it is on disk.
struct OnDisk {
    id: String,
    modified: SystemTime,
    bytes: u64,
}

impl LogStore {
    /// Removes logs of ended executions: those untouched for longer than `max_age`, then the oldest until all logs
    /// together have at most `max_bytes`. If that is not enough, those that are still written lose their oldest
    /// segments, the largest first. Blocks; returns how many logs were removed.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn prune(&self, max_age: Duration, max_bytes: u64) -> io::Result<usize> {
        let mut logs = self.on_disk()?;
        logs.sort_by_key(|log| log.modified);
        let mut total: u64 = logs.iter().map(|log| log.bytes).sum();
        let (mut removed, now) = (0, SystemTime::now());
        let (mut live, ended): (Vec<_>, Vec<_>) =
            logs.into_iter().partition(|log| self.live().contains_key(&log.id));
        for log in ended {
            let too_old = now.duration_since(log.modified).is_ok_and(|age| age > max_age);
            if (too_old || total > max_bytes) && self.remove_files(&log.id).is_ok() {
                total = total.saturating_sub(log.bytes);
                removed += 1;
            }
        }
        while total > max_bytes {
            let Some(largest) = live.iter_mut().max_by_key(|log| log.bytes).filter(|log| log.bytes > 0)
            else {
                break;
            };
            match self.drop_oldest(&largest.id) {
                Some(bytes) => {
                    largest.bytes = largest.bytes.saturating_sub(bytes);
                    total = total.saturating_sub(bytes);
                }
                None => largest.bytes = 0,
            }
        }
        Ok(removed)
    }

    fn on_disk(&self) -> io::Result<Vec<OnDisk>> {
        let entries = match std::fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut logs: HashMap<String, OnDisk> = HashMap::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some((id, _)) = name.to_str().and_then(Segment::parse) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
            let log = logs.entry(id.to_owned());
            let log = log.or_insert_with(|| OnDisk { id: id.to_owned(), modified, bytes: 0 });
            log.modified = log.modified.max(modified);
            log.bytes = log.bytes.saturating_add(metadata.len());
        }
        Ok(logs.into_values().collect())
    }
}
