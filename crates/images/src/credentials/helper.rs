//! Docker's credential helpers: programs `docker-credential-<name>` that are asked by standard input.

use super::Login;
use crate::error;
use bacalhau_model::Error;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Time a helper has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of its answer at most.
const LARGEST: u64 = 64 << 10;

/// What Docker's helpers say when they know nothing; no error.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper; `None` when it has nothing for the server.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Login>, Error> {
    let program = format!("docker-credential-{name}");
    let explain = |reason: &str| {
        error::failed(format!("credential helper {program} cannot be used: {reason}"))
            .hint("Correct credsStore and credHelpers in Docker's config.json, or install the helper")
    };
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(explain("its name is none"));
    }
    let asking = ask(&program, server);
    let (succeeded, output) = match tokio::time::timeout(PATIENCE, asking).await {
        Err(_) => return Err(explain("it does not answer")),
        Ok(answer) => answer.map_err(|e| explain(&e.to_string()))?,
    };
    if !succeeded {
        let text = String::from_utf8_lossy(&output);
        // Other words of a helper may hold secrets and are not passed on.
        return if text.contains(NOT_FOUND) { Ok(None) } else { Err(explain("it fails")) };
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| explain("its answer cannot be read"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Identity(answer.secret),
        _ => Login::Basic { username: answer.username, password: answer.secret },
    }))
}

async fn ask(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input answers all the same.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LARGEST).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?.success(), output))
}
