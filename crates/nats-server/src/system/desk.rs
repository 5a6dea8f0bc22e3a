//! The thread that makes the answers that take a while. One at a time, and the next one only when the loop has published
//! the one before: however many ask, they hold up the loop, and fill memory, no more than one would.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use crate::monitor::State;
use crate::monitor::documents::{AccountLine, Document};

use super::answers::{envelope, failed, no_data};
use super::events::Conns;
use super::options::Body;
use super::server::{ServerBlock, written};
use super::subjects::{AccountRequest, ServerRequest, means_all};

/// Requests that may wait.
const MAX_WAITING: usize = 64;
/// Longest wait for the loop to publish an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something for the loop to publish.
pub(crate) struct Said {
    /// In whose subjects.
    pub(crate) account: u32,
    pub(crate) subject: Box<[u8]>,
    pub(crate) body: Vec<u8>,
}

/// An answer to be made.
pub(crate) struct Job {
    /// Where it goes.
    pub(crate) account: u32,
    pub(crate) subject: Box<[u8]>,
    pub(crate) what: What,
    /// The options, unread.
    pub(crate) body: Box<[u8]>,
}

pub(crate) enum What {
    Server(ServerRequest),
    Account { name: Box<str>, what: AccountRequest },
}

/// The way to the thread, which runs once somebody has asked.
#[derive(Default)]
pub(crate) struct Desk {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Hands a request over. False: it is not going to be answered.
    pub(crate) fn submit(&mut self, job: Job, state: &Arc<State>, block: &Arc<ServerBlock>) -> bool {
        if self.jobs.is_none() {
            self.start(state.clone(), block.clone());
        }
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    fn start(&mut self, state: Arc<State>, block: Arc<ServerBlock>) {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::warn!(%error, "NATS server: cannot answer requests about itself"),
        };
        let thread = std::thread::Builder::new()
            .name("nats-system".to_owned())
            .spawn(move || runtime.block_on(work(&state, &block, waiting)));
        match thread {
            Ok(thread) => (self.jobs, self.thread) = (Some(jobs), Some(thread)),
            Err(error) => tracing::warn!(%error, "NATS server: cannot answer requests about itself"),
        }
    }
}

impl Drop for Desk {
    /// Whoever drops it is the loop, at its end: the thread gets no more answers from it and ends at once.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("NATS server: the thread that answers requests about it had panicked");
        }
    }
}

async fn work(state: &State, block: &ServerBlock, mut waiting: mpsc::Receiver<Job>) {
    while let Some(job) = waiting.recv().await {
        let Some(body) = answer(state, block, &job).await else { continue };
        state.say(Said { account: job.account, subject: job.subject, body });
        if state.heard(PATIENCE).await.is_err() {
            // The loop ends, and with it this, or it is busy; then there is no hurry.
            continue;
        }
    }
}

/// The answer; `None`: others are meant, or there is nothing to say.
async fn answer(state: &State, block: &ServerBlock, job: &Job) -> Option<Vec<u8>> {
    let kind = match &job.what {
        What::Server(what) => server_options(*what),
        What::Account { what, .. } => account_options(*what),
    };
    let refuse = |problem: String| failed(block, state.time(), 400, &problem);
    let body = match Body::parse(&job.body, kind) {
        Ok(body) => body,
        Err(problem) => return Some(refuse(problem)),
    };
    match body.concerns(block) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(problem) => return Some(refuse(problem)),
    }
    match &job.what {
        What::Server(what) => server(state, block, *what, &body).await,
        What::Account { name, what } => account(state, block, name, *what, &body).await,
    }
}

async fn server(state: &State, block: &ServerBlock, what: ServerRequest, body: &Body) -> Option<Vec<u8>> {
    let data = |value: serde_json::Value| Some(envelope(block, state.time(), "data", &written(&value)));
    match what {
        ServerRequest::Statsz => match state.statsz().await {
            Ok(statsz) => Some(envelope(block, state.time(), "statsz", &statsz)),
            Err(_) => None,
        },
        // The answer is published by the loop, so it turns.
        ServerRequest::Healthz => data(json!({ "status": "ok", "status_code": 200 })),
        ServerRequest::Profilez => data(json!({ "profile": null, "error": "profiles are not made here" })),
        ServerRequest::Empty => data(json!({})),
        ServerRequest::Idz => None,
        ServerRequest::Document(document) => {
            let params = match document {
                Document::Connz => body.connz(None),
                Document::Subsz => body.subsz(None),
                _ => body.accountz(),
            };
            Some(made(state, block, document, params).await)
        }
    }
}

async fn account(
    state: &State,
    block: &ServerBlock,
    name: &str,
    what: AccountRequest,
    body: &Body,
) -> Option<Vec<u8>> {
    let (document, params) = match what {
        AccountRequest::Connz => (Document::Connz, body.connz(Some(name))),
        AccountRequest::Subsz => (Document::Subsz, body.subsz(Some(name))),
        AccountRequest::Info => (Document::AccountDetail, Ok(account_params(name))),
        AccountRequest::Leafz => (Document::Leafz, Ok(account_params(name))),
        AccountRequest::Jsz => return Some(no_data(block, state.time(), "jetstream not enabled")),
        AccountRequest::Statz => return statz(state, block, name, body).await,
        AccountRequest::Conns => return None,
    };
    Some(made(state, block, document, params).await)
}

fn account_params(name: &str) -> crate::monitor::params::Params {
    crate::monitor::params::Params::of(vec![("acc", name.to_owned())])
}

async fn made(
    state: &State,
    block: &ServerBlock,
    document: Document,
    params: Result<crate::monitor::params::Params, String>,
) -> Vec<u8> {
    let params = match params {
        Ok(params) => params,
        Err(problem) if problem.starts_with("json:") => return failed(block, state.time(), 400, &problem),
        Err(problem) => return no_data(block, state.time(), &problem),
    };
    match state.document(document, &params).await {
        Ok(document) => envelope(block, state.time(), "data", &document),
        Err(problem) => no_data(block, state.time(), &problem),
    }
}

async fn statz(state: &State, block: &ServerBlock, name: &str, body: &Body) -> Option<Vec<u8>> {
    let wanted = match means_all(name) {
        true => body.texts("accounts"),
        false => Ok(vec![name.to_owned()]),
    };
    let (wanted, unused) = match (wanted, body.flag("include_unused")) {
        (Ok(wanted), Ok(unused)) => (wanted, unused),
        (Err(problem), _) | (_, Err(problem)) => return Some(failed(block, state.time(), 400, &problem)),
    };
    let lines = match state.account_lines().await {
        Ok(lines) => lines,
        Err(problem) => return Some(no_data(block, state.time(), &problem)),
    };
    let is_wanted = |line: &&AccountLine| {
        let named = wanted.is_empty() || wanted.iter().any(|name| **name == *line.account);
        named && (unused || line.figures.connections > 0)
    };
    let statz: Vec<Conns> = lines
        .iter()
        .filter(is_wanted)
        .map(|line| {
            let figures = &line.figures;
            Conns::new(&line.account, &line.label, figures.connections, line.subscriptions, &figures.ledger)
        })
        .collect();
    if statz.is_empty() && !unused {
        return None;
    }
    let data = json!({ "server_id": block.id(), "now": state.time(), "account_statz": statz });
    Some(envelope(block, state.time(), "data", &written(&data)))
}

/// What the NATS server calls the options of a request.
fn server_options(what: ServerRequest) -> &'static str {
    match what {
        ServerRequest::Statsz => "StatszEventOptions",
        ServerRequest::Healthz => "HealthzEventOptions",
        ServerRequest::Profilez => "ProfilezEventOptions",
        ServerRequest::Document(Document::Varz) => "VarzEventOptions",
        ServerRequest::Document(Document::Connz) => "ConnzEventOptions",
        ServerRequest::Document(Document::Subsz) => "SubszEventOptions",
        ServerRequest::Document(Document::Accountz) => "AccountzEventOptions",
        ServerRequest::Document(Document::Routez) => "RoutezEventOptions",
        ServerRequest::Document(Document::Gatewayz) => "GatewayzEventOptions",
        ServerRequest::Document(Document::Leafz) => "LeafzEventOptions",
        ServerRequest::Document(Document::Jsz) => "JszEventOptions",
        _ => "EventFilterOptions",
    }
}

fn account_options(what: AccountRequest) -> &'static str {
    match what {
        AccountRequest::Connz => "ConnzEventOptions",
        AccountRequest::Subsz => "SubszEventOptions",
        AccountRequest::Info => "AccInfoEventOptions",
        AccountRequest::Leafz => "LeafzEventOptions",
        AccountRequest::Jsz => "JszEventOptions",
        AccountRequest::Statz => "AccountStatzEventOptions",
        AccountRequest::Conns => "EventFilterOptions",
    }
}
