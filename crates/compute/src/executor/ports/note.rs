//! The note of an execution's ports in its folder, from which the next life of the node knows what an adopted one has.

use super::super::disk;
use super::super::work::WorkFolder;
use super::{COMPONENT, PortLease};
use crate::engines::Port;
use bacalhau_model::{Error, error::code};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Name of the note in the execution's folder.
const FILE: &str = "ports.json";
/// Longest note that is read, bytes: ports have short names, and a job has at most thousands.
const MOST: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Note {
    name: String,
    host: u16,
    target: u16,
    #[serde(default)]
    host_address: String,
}

/// Notes the ports in the execution's folder.
///
/// # Errors
/// The file system refuses.
pub(in super::super) async fn note(work: &Arc<WorkFolder>, lease: &PortLease) -> Result<(), Error> {
    if lease.ports.is_empty() {
        return Ok(());
    }
    let notes = lease.ports.iter().map(|port| Note {
        name: port.name.clone(),
        host: port.host,
        target: port.target,
        host_address: port.host_address.clone(),
    });
    let (notes, work) = (notes.collect::<Vec<_>>(), Arc::clone(work));
    let written = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_vec(&notes).map_err(io::Error::other)?;
        let folder = work.create("")?;
        // Renamed into place, so that no half of it is ever found.
        let part = folder.join(format!("{FILE}.part"));
        fs::write(&part, text)?;
        fs::rename(part, folder.join(FILE))
    });
    let written: io::Result<()> = written.await.map_err(io::Error::other).flatten();
    written.map_err(|why| {
        let error =
            Error::new(code::INTERNAL_ERROR, format!("cannot note the ports of the execution: {why}"));
        disk::explain_full(error.component(COMPONENT), &why)
    })
}

/// The ports that are noted in an execution's folder; none where there is no note.
pub(super) fn read(folder: &Path) -> Vec<Port> {
    let path = folder.join(FILE);
    let short = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MOST);
    let notes: Vec<Note> = short
        .then(|| fs::read(&path).ok())
        .flatten()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let port = |note: Note| Port {
        name: note.name,
        host: note.host,
        target: note.target,
        host_address: note.host_address,
    };
    notes.into_iter().map(port).collect()
}
