//! The operator's own say in what the node runs: a command and a URL that are asked about each job before a bid.
//!
//! Both get `{"Job": ...}`. What they answer is a reason that users see; what went wrong in asking is an error that may
//! go away, never a refusal. Bounded in time, output and number, so that a probe that hangs delays only those who wait
//! for it.

use crate::command;
use bacalhau_model::{Error, Execution, Job, error::code};
use futures_util::StreamExt;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore};

/// Variable in which a command finds the job.
const VARIABLE: &str = "BACALHAU_JOB_SELECTION_PROBE_DATA";
/// Longest value the kernel takes for a variable, bytes, with room for its name. Longer jobs are on standard input only.
const LONGEST_VARIABLE: usize = 120 * 1024;
/// Commands, and requests, at the same time; further ones wait.
const AT_ONCE: usize = 16;
/// Longest reason shown, characters.
const LONGEST_REASON: usize = 1000;
/// Longest answer of a URL that is read, bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// `JobAdmissionControl.ProbeExec`, for `bash -c`; empty is none.
    pub exec: String,
    /// `JobAdmissionControl.ProbeHTTP`; empty is none.
    pub http: String,
    /// `JobAdmissionControl.ProbeTimeout`: how long each may take.
    pub timeout: Duration,
}

impl Default for ProbeConfig {
    /// None, and 10 s for whoever sets one.
    fn default() -> ProbeConfig {
        ProbeConfig { exec: String::new(), http: String::new(), timeout: Duration::from_secs(10) }
    }
}

impl ProbeConfig {
    /// Checks what would have the node fail at every job.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_web = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !self.http.is_empty() && !url::Url::parse(&self.http).is_ok_and(is_web) {
            // Not quoted: it may hold a password.
            let why = "it is no URL that can be asked; write one like http://127.0.0.1:8080/".to_owned();
            return Err(("JobAdmissionControl.ProbeHTTP", why));
        }
        if self.timeout.is_zero() && !(self.http.is_empty() && self.exec.is_empty()) {
            return Err(("JobAdmissionControl.ProbeTimeout", "a probe needs some time to answer".to_owned()));
        }
        Ok(())
    }
}

/// The probes of a node.
#[derive(Debug)]
pub(super) struct Probes {
    config: ProbeConfig,
    commands: Semaphore,
    requests: Semaphore,
    client: OnceCell<Client>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Question<'a> {
    job: &'a Job,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    should_bid: bool,
    #[serde(default)]
    reason: String,
}

impl Probes {
    pub(super) fn new(config: ProbeConfig) -> Probes {
        let (commands, requests) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE));
        Probes { config, commands, requests, client: OnceCell::new() }
    }

    /// Asks both, at the same time.
    ///
    /// # Errors
    /// A refusal; or, retryable, that one could not be asked.
    pub(super) async fn ask(&self, execution: &Execution) -> Result<(), Error> {
        if self.config.exec.is_empty() && self.config.http.is_empty() {
            return Ok(());
        }
        let Some(job) = &execution.job else { return Ok(()) };
        let question = serde_json::to_vec(&Question { job }).map_err(|e| {
            Error::new(code::INTERNAL_ERROR, format!("cannot write the job for a probe: {e}"))
        })?;
        tokio::try_join!(self.ask_command(&question), self.ask_url(&question)).map(|_| ())
    }

    async fn ask_command(&self, question: &[u8]) -> Result<(), Error> {
        if self.config.exec.is_empty() {
            return Ok(());
        }
        let limit = self.config.timeout;
        let trouble = |why: String| trouble("ProbeExec", &why);
        // The semaphore is never closed; without a permit there would only be more processes than meant.
        let _permit = self.commands.acquire().await;
        let mut command = Command::new("bash");
        command.args(["-c", &self.config.exec]).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Ok(text) = std::str::from_utf8(question)
            && text.len() <= LONGEST_VARIABLE
        {
            command.env(VARIABLE, text);
        }
        let output =
            command::run(command, question.to_vec(), limit).await.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => trouble(format!("the command did not end within {limit:?}")),
                _ => trouble(format!("the command cannot be run: {error}")),
            })?;
        match output.code {
            Some(0) => Ok(()),
            Some(code) => {
                let said = reason(&String::from_utf8_lossy(&output.stderr));
                Err(refusal(if said.is_empty() {
                    format!("the node's probe ended with exit code {code}")
                } else {
                    said
                }))
            }
            None => Err(trouble("the command was killed by a signal".to_owned())),
        }
    }

    async fn ask_url(&self, question: &[u8]) -> Result<(), Error> {
        if self.config.http.is_empty() {
            return Ok(());
        }
        let trouble = |why: &dyn std::fmt::Display| trouble("ProbeHTTP", &why.to_string());
        let _permit = self.requests.acquire().await;
        let client =
            self.client.get_or_try_init(|| async { client() }).await.map_err(|e| trouble(&cause(e)))?;
        let request = client
            .post(&self.config.http)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(question.to_vec())
            .send();
        let asked = async {
            let response = request.await.map_err(|e| trouble(&cause(e)))?;
            let status = response.status();
            if status.is_client_error() || status.is_server_error() {
                return Err(refusal(format!(
                    "the node's probe answered with HTTP status {}",
                    status.as_u16()
                )));
            }
            if !is_json(&response) {
                return Ok(());
            }
            let body = body(response).await.map_err(|why| trouble(&why))?;
            let answer: Answer = serde_json::from_slice(&body)
                .map_err(|e| trouble(&format!("its answer cannot be read: {e}")))?;
            if answer.should_bid {
                return Ok(());
            }
            let said = reason(&answer.reason);
            Err(refusal(if said.is_empty() {
                "the node's probe does not want the job".to_owned()
            } else {
                said
            }))
        };
        let limit = self.config.timeout;
        let late = |_| trouble(&format!("no answer within {limit:?}"));
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }
}

fn client() -> reqwest::Result<Client> {
    // Fails when another part of the process has installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().user_agent("bacalhau").build()
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn body(response: Response) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let mut parts = response.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(cause)?;
        if all.len().saturating_add(part.len()) > LONGEST_ANSWER {
            return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes"));
        }
        all.extend_from_slice(&part);
    }
    Ok(all)
}

/// What went wrong, without the URL: it may hold credentials.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Something for people to read: one line of printable characters.
fn reason(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

fn refusal(reason: String) -> Error {
    Error::new(code::BAD_REQUEST, reason).component("JobAdmissionControl")
}

fn trouble(key: &str, why: &str) -> Error {
    Error::new(code::SERVICE_UNAVAILABLE, format!("the node cannot find out whether it wants the job: {why}"))
        .component("JobAdmissionControl")
        .hint(format!("Its operator should look at JobAdmissionControl.{key}"))
        .retryable()
}

#[cfg(test)]
mod tests;
