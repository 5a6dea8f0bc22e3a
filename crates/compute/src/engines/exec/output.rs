//! What a task prints, from its pipes into its log.

use crate::logs::{LogStream, LogWriter};
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// Bytes read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Copies one stream until its last writer is gone. A log that is slow holds the task back.
pub(super) fn copy(pipe: PipeReader, log: LogWriter, stream: LogStream) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pipe = match Receiver::from_owned_fd(OwnedFd::from(pipe)) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::warn!(%error, "cannot read what a task prints");
                return;
            }
        };
        let mut buffer = Vec::with_capacity(CHUNK);
        loop {
            buffer.clear();
            // A broken pipe is an end like any other.
            if pipe.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            let log = log.clone();
            // Writing a log blocks for a file write.
            let written = tokio::task::spawn_blocking(move || {
                log.write(stream, &buffer);
                buffer
            });
            buffer = written.await.unwrap_or_default();
        }
    })
}
