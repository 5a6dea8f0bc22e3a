//! The results folder: one folder per result path, and beside them `stdout`, `stderr` and `exitCode`.

use super::completion;
use super::disk;
use super::work::WorkFolder;
use crate::engines::ResultFolder;
use crate::logs::Captured;
use crate::logs::frame::{self, LogStream};
use crate::sources::normalise_guest_path;
use bacalhau_model::{Error, ResultPath, RunCommandResult, error::code};
use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Name of the folder below the execution's.
const FOLDER: &str = "results";

/// Names the system uses itself.
const RESERVED: [&str; 3] = ["stdout", "stderr", "exitCode"];

fn invalid(message: String) -> Error {
    Error::new(code::BAD_REQUEST, message).component("Executor")
}

/// Checks that every name can be a folder of the results.
pub(super) fn validate(paths: &[ResultPath]) -> Result<(), Error> {
    for path in paths {
        let plain = Path::new(&path.name).components().all(|part| matches!(part, Component::Normal(_)));
        if path.name.is_empty() || !plain || path.name.contains('\0') {
            return Err(invalid(format!(
                "result path name '{}' cannot be a folder of the results",
                path.name
            ))
            .hint("Use a plain name such as 'outputs'"));
        }
        if RESERVED.contains(&path.name.as_str()) {
            return Err(invalid(format!("result path name '{}' is taken by the system", path.name))
                .hint("Use another name; stdout, stderr and exitCode are written by the node"));
        }
        normalise_guest_path(&path.path)?;
    }
    Ok(())
}

/// Creates a folder for each result path.
pub(super) fn create(paths: &[ResultPath], work: &WorkFolder) -> Result<Vec<ResultFolder>, Error> {
    validate(paths)?;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let explain = |e: io::Error| {
        let error = Error::new(code::INTERNAL_ERROR, format!("cannot create the results folder: {e}"));
        disk::explain_full(error, &e)
    };
    let results = work.create(FOLDER).map_err(explain)?;
    paths
        .iter()
        .map(|path| {
            let host_path = results.join(&path.name);
            DirBuilder::new().recursive(true).mode(0o755).create(&host_path).map_err(explain)?;
            Ok(ResultFolder { name: path.name.clone(), path: normalise_guest_path(&path.path)?, host_path })
        })
        .collect()
}

/// Where the results are, once they are complete.
pub(super) fn folder(work: &WorkFolder) -> PathBuf {
    work.path().join(FOLDER)
}

/// Adds what was printed and the exit code, and marks the results as complete.
pub(super) async fn complete(
    work: &Arc<WorkFolder>,
    captured: Captured,
    output: &RunCommandResult,
) -> Result<(), Error> {
    if let Some(error) = captured.error {
        return Err(Error::new(code::INTERNAL_ERROR, error)
            .hint("Check the free space of the compute node")
            .retryable());
    }
    let (work, output) = (Arc::clone(work), output.clone());
    let written = tokio::task::spawn_blocking(move || {
        let folder = work.create(FOLDER)?;
        split_log(&captured.files, captured.dropped, &folder)?;
        std::fs::write(folder.join("exitCode"), output.exit_code.to_string())?;
        completion::write(work.path(), &output)
    });
    let written: io::Result<()> = written.await.map_err(io::Error::other).flatten();
    written.map_err(|e| {
        Error::new(code::INTERNAL_ERROR, format!("cannot write the results folder: {e}"))
            .hint("Check the free space of the compute node")
            .retryable()
    })
}

/// Writes `stdout` and `stderr` from the files of a log; both exist even when nothing was printed. What the log dropped
/// is told at the beginning of `stderr`.
fn split_log(files: &[PathBuf], dropped: u64, folder: &Path) -> io::Result<()> {
    let mut stdout = BufWriter::new(File::create(folder.join("stdout"))?);
    let mut stderr = BufWriter::new(File::create(folder.join("stderr"))?);
    if dropped > 0 {
        writeln!(stderr, "[{dropped} bytes of older output were not kept: the log had reached its limit]")?;
    }
    for file in files {
        let file = match File::open(file) {
            // Logs of other executions needed the room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(
                    stderr,
                    "[a part of the output was not kept: the logs of the node had reached their limit]"
                )?;
                continue;
            }
            file => file?,
        };
        let mut reader = BufReader::with_capacity(frame::MAX_PAYLOAD, file);
        let mut header = [0u8; frame::HEADER];
        while reader.read_exact(&mut header).is_ok() {
            let Some(found) = frame::decode_header(&header) else { break };
            let mut payload = reader.by_ref().take(found.length as u64);
            match found.stream {
                LogStream::Stdout => io::copy(&mut payload, &mut stdout)?,
                LogStream::Stderr => io::copy(&mut payload, &mut stderr)?,
                LogStream::System => io::copy(&mut payload, &mut io::sink())?,
            };
        }
    }
    stdout.flush()?;
    stderr.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_went_meanwhile_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, LogStream::Stdout, 1, b"kept\n");
        let kept = dir.path().join("kept");
        std::fs::write(&kept, bytes).unwrap();
        split_log(&[dir.path().join("gone"), kept], 0, dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("stdout"), "kept\n");
        assert!(read("stderr").starts_with("[a part of the output was not kept"));
    }

    #[test]
    fn names_are_plain_folders() {
        let path = |name: &str| vec![ResultPath { name: name.into(), path: "/out".into() }];
        validate(&path("outputs")).unwrap();
        for name in ["", "..", "../x", "/x", "a/../b", "stdout", "exitCode"] {
            assert!(validate(&path(name)).is_err(), "{name}");
        }
    }
}
