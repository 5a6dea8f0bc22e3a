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
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use std::sync::Arc;

    fn execution() -> Execution {
        let job = Job { id: "j-1".into(), name: "a job".into(), ..Job::default() };
        Execution { id: "e-1".into(), job: Some(Arc::new(job)), ..Execution::default() }
    }

    async fn exec(command: &str, timeout: Duration) -> Result<(), Error> {
        let config = ProbeConfig { exec: command.into(), timeout, ..ProbeConfig::default() };
        Probes::new(config).ask(&execution()).await
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_command_decides() {
        Probes::new(ProbeConfig::default()).ask(&execution()).await.unwrap();
        exec("true", PATIENCE).await.unwrap();
        // The job is in both places, and nothing of the node's environment but the way to programs.
        let same = r#"read -r line; [ "$line" = "$BACALHAU_JOB_SELECTION_PROBE_DATA" ] && [ -n "$PATH" ] && [ -z "$HOME" ]"#;
        exec(same, PATIENCE).await.unwrap();
        exec(r#"[[ $(cat) == '{"Job":{'*'"Name":"a job"'* ]]"#, PATIENCE).await.unwrap();
        let error = exec("echo 'not at night,' >&2; echo sorry >&2; exit 7", PATIENCE).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.retryable), ("not at night, sorry", false));
        let error = exec("exit 7", PATIENCE).await.unwrap_err();
        assert_eq!(error.message, "the node's probe ended with exit code 7");
    }

    #[tokio::test]
    async fn a_command_that_cannot_tell_is_no_refusal() {
        for (command, timeout) in [("kill -9 $$", PATIENCE), ("sleep 3600 & wait", Duration::from_millis(10))]
        {
            let error = exec(command, timeout).await.unwrap_err();
            assert!(error.retryable, "{error}");
            assert!(error.hint.contains("JobAdmissionControl.ProbeExec"), "{}", error.hint);
        }
    }

    #[tokio::test]
    async fn a_large_job_is_on_standard_input() {
        let job = Job { id: "j".into(), name: "x".repeat(1 << 20), ..Job::default() };
        let execution = Execution { job: Some(Arc::new(job)), ..Execution::default() };
        let check = r#"[ -z "$BACALHAU_JOB_SELECTION_PROBE_DATA" ] && [ "$(wc -c)" -gt 1000000 ]"#;
        let config = ProbeConfig { exec: check.into(), timeout: PATIENCE, ..ProbeConfig::default() };
        Probes::new(config).ask(&execution).await.unwrap();
    }

    async fn serve() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let json = |text: &'static str| ([("content-type", "application/json; charset=utf-8")], text);
        let routes = Router::new()
            .route("/plain", post(|| async { "fine" }))
            .route(
                "/echo",
                post(move |body: String| async move {
                    let known = body.contains(r#""Name":"a job""#);
                    json(if known { r#"{"ShouldBid": true}"# } else { r#"{"ShouldBid": false}"# })
                }),
            )
            .route("/no", post(move || async move { json(r#"{"ShouldBid": false, "Reason": "not today"}"#) }))
            .route("/nothing", post(move || async move { json("{}") }))
            .route("/broken", post(move || async move { json("{") }))
            .route("/forbidden", post(|| async { (StatusCode::FORBIDDEN, "secret") }))
            .route("/hangs", post(|| async { std::future::pending::<&'static str>().await }))
            .route(
                "/long",
                post(move || async move { ([("content-type", "application/json")], "x".repeat(2 << 20)) }),
            );
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://user:hidden@{address}")
    }

    #[tokio::test]
    async fn a_url_decides() {
        let url = serve().await;
        let ask = |path: &str| {
            let timeout = if path == "/hangs" { Duration::from_millis(50) } else { PATIENCE };
            let config = ProbeConfig { http: format!("{url}{path}"), timeout, ..ProbeConfig::default() };
            async move { Probes::new(config).ask(&execution()).await }
        };
        for path in ["/plain", "/echo"] {
            ask(path).await.unwrap();
        }
        for (path, reason) in [
            ("/no", "not today"),
            ("/nothing", "the node's probe does not want the job"),
            ("/forbidden", "the node's probe answered with HTTP status 403"),
        ] {
            let error = ask(path).await.unwrap_err();
            assert_eq!((error.message.as_str(), error.retryable), (reason, false), "{path}");
        }
        for path in ["/broken", "/hangs", "/long"] {
            let error = ask(path).await.unwrap_err();
            assert!(error.retryable && !error.to_string().contains("hidden"), "{path}: {error}");
        }
        let config = ProbeConfig { http: "http://user:hidden@127.0.0.1:1/".into(), ..ProbeConfig::default() };
        let error = Probes::new(config).ask(&execution()).await.unwrap_err();
        assert!(error.retryable && !error.message.contains("hidden"), "{error}");
    }
}
