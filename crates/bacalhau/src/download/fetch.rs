//! Downloads one file over HTTP.

use crate::failure::fail;
use bacalhau_model::Error;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Tries before a download is given up.
const TRIES: u32 = 3;
/// Longest silence on a connection.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes between two reports of progress.
const STEP: u64 = 256 << 10;

/// Told now and then: bytes so far, and all bytes where the server says.
type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Downloads `url` into `target`, which appears only when it is complete.
pub(crate) async fn fetch(url: &str, target: &Path, progress: Progress<'_>) -> Result<(), Error> {
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(SILENCE)
        .build()
        .map_err(|e| fail(format!("cannot set up the HTTP client: {e}")))?;
    let mut tried = 1;
    loop {
        match attempt(&client, url, target, progress).await {
            Err(error) if error.retryable && tried < TRIES => {
                tokio::time::sleep(Duration::from_secs(1) * tried).await;
                tried += 1;
            }
            done => return done,
        }
    }
}

async fn attempt(
    client: &reqwest::Client,
    url: &str,
    target: &Path,
    progress: Progress<'_>,
) -> Result<(), Error> {
    // Signed addresses are secrets; what is shown ends before the query.
    let shown = url.split('?').next().unwrap_or(url).to_owned();
    let broken = |e: reqwest::Error| {
        fail(format!("cannot download {shown}: {}", root_cause(&e.without_url())))
            .hint(
                "the node that published the results must be running and reachable from here; \
                   its operator sets the address with Publishers.Types.Local.Address",
            )
            .retryable()
    };
    let mut response = client.get(url).send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let error = fail(format!("cannot download {shown}: the server answered {status}"));
        let error = match status.as_u16() {
            403 => error.hint("the address may have expired: run `bacalhau job get` again"),
            404 => error.hint("the results are no longer there; the node may have removed them"),
            _ => error,
        };
        return Err(if status.is_server_error() { error.retryable() } else { error });
    }
    let total = response.content_length();
    let part = target.with_extension("part");
    let io = |e: std::io::Error| fail(format!("cannot write {}: {e}", part.display()));
    let mut file = tokio::fs::File::create(&part).await.map_err(io)?;
    let (mut done, mut told) = (0u64, 0u64);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        file.write_all(&chunk).await.map_err(io)?;
        done += chunk.len() as u64;
        if done >= told + STEP {
            told = done;
            progress(done, total);
        }
    }
    file.flush().await.map_err(io)?;
    drop(file);
    tokio::fs::rename(&part, target).await.map_err(io)
}

/// The innermost cause; outer layers say less.
fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(inner) => root_cause(inner),
        None => error.to_string(),
    }
}
