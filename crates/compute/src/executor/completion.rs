//! The mark of complete results: a task ended and all that is to be published is in its folder.
//!
//! A node that is killed while it publishes finds the mark at its next start and publishes again, instead of failing an
//! execution whose work is done. The mark holds what the task printed and how it exited. It counts only as long as the
//! machine has not been started anew: the kernel keeps what a killed process wrote, a power failure does not, and to
//! sync every result to the disk would cost more than it saves.

use bacalhau_model::RunCommandResult;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// Name of the file in the execution's folder.
const FILE: &str = "complete.json";
/// Longest mark that is read, bytes: what is kept of the output is far smaller.
const MOST: u64 = 1 << 20;
/// Changes with every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mark {
    boot: String,
    output: RunCommandResult,
}

/// Marks the results in the execution's folder as complete.
pub(super) fn write(folder: &Path, output: &RunCommandResult) -> io::Result<()> {
    let Some(boot) = boot() else { return Ok(()) };
    let mark = serde_json::to_vec(&Mark { boot, output: output.clone() }).map_err(io::Error::other)?;
    // Renamed into place, so that no half of it is ever found.
    let part = folder.join(format!("{FILE}.part"));
    fs::write(&part, mark)?;
    fs::rename(part, folder.join(FILE))
}

/// What the task printed and how it exited, if its results are complete.
pub(super) fn read(folder: &Path) -> Option<RunCommandResult> {
    let path = folder.join(FILE);
    let length = fs::metadata(&path).ok()?.len();
    let mark: Mark =
        (length <= MOST).then(|| fs::read(path).ok())?.and_then(|text| serde_json::from_slice(&text).ok())?;
    (Some(mark.boot) == boot()).then_some(mark.output)
}

fn boot() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_until_the_machine_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let output = RunCommandResult { stdout: "hi".into(), exit_code: 3, ..RunCommandResult::default() };
        write(dir.path(), &output).unwrap();
        assert_eq!(read(dir.path()), Some(output.clone()));
        let old = Mark { boot: "another".into(), output };
        fs::write(dir.path().join(FILE), serde_json::to_vec(&old).unwrap()).unwrap();
        assert_eq!(read(dir.path()), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
