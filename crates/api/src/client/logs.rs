//! Log streams: a websocket on the same HTTP client, so that addresses, TLS options and credentials are the same.

mod frame;

pub use frame::{LogEvent, LogExecution, LogLine, LogNote};

use super::{Client, errors};
use bacalhau_model::{Error, Time};
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use std::collections::{BTreeMap, VecDeque};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Largest message accepted.
const MAX_MESSAGE: usize = 16 << 20;

/// Which logs, and how much of them. Servers of Bacalhau 1.9 know the fields up to `follow` and ignore the others.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Namespace in which a name is looked up; empty for the default one.
    pub namespace: String,
    /// Version; 0 for the latest.
    pub version: u64,
    /// Full execution ID; empty for the server's choice.
    pub execution_id: String,
    /// Only what is printed from now on.
    pub tail: bool,
    /// Go on until the execution ends, or the job with `all_executions`.
    pub follow: bool,
    /// All executions at once.
    pub all_executions: bool,
    /// Earlier attempts as well.
    pub all_attempts: bool,
    /// All versions of the job.
    pub all_versions: bool,
    /// Only so many of the last lines of each execution.
    pub last_lines: Option<u64>,
    /// Only what was printed since then.
    pub since: Option<Time>,
    /// Say whose output it is, when it was printed, and what is to be remarked.
    pub details: bool,
    /// A time of its own for everything that was printed at once.
    pub timestamps: bool,
    /// Time of the last output that was read, nanoseconds since 1970, by execution: the stream goes on after it.
    pub cursors: Option<BTreeMap<String, i64>>,
}

impl LogQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut add = |key: &'static str, value: &str| {
            if !value.is_empty() {
                pairs.push((key, value.to_owned()));
            }
        };
        add("namespace", &self.namespace);
        add("execution_id", &self.execution_id);
        let flags = [
            ("tail", self.tail),
            ("follow", self.follow),
            ("all_executions", self.all_executions),
            ("all_attempts", self.all_attempts),
            ("all_job_versions", self.all_versions),
            ("details", self.details),
            ("timestamps", self.timestamps),
            ("resume", self.cursors.is_some()),
        ];
        flags.into_iter().for_each(|(key, on)| add(key, if on { "true" } else { "" }));
        if self.version > 0 {
            pairs.push(("job_version", self.version.to_string()));
        }
        if let Some(lines) = self.last_lines {
            pairs.push(("tail_lines", lines.to_string()));
        }
        if let Some(since) = self.since {
            pairs.push(("since", since.to_string()));
        }
        pairs
    }
}

/// An open log stream. Dropping it closes the connection.
pub struct LogStream {
    socket: WebSocketStream<reqwest::Upgraded>,
    waiting: VecDeque<Result<LogEvent, Error>>,
    ended: bool,
    has_details: bool,
}

impl Client {
    /// Opens the log stream of a job. A job that does not exist is reported by the first [`LogStream::next`].
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogStream, Error> {
        let url = self.url(&["orchestrator", "jobs", id, "logs"], &query.pairs())?;
        let key = generate_key();
        let request = self
            .raw()
            .get(url)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(|e| errors::transport(self.address(), &e))?;
        let status = response.status().as_u16();
        if status != 101 {
            return Err(errors::refused(status, &self.read(response, 1 << 20).await?));
        }
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(|v| v.as_bytes().to_vec());
        if accepted != Some(derive_accept_key(key.as_bytes()).into_bytes()) {
            return Err(errors::undecodable("the log request", &"it is no websocket handshake"));
        }
        let has_details = response.headers().contains_key("bacalhau-log-features");
        let upgraded = response.upgrade().await.map_err(|e| errors::transport(self.address(), &e))?;
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        if let Some(cursors) = query.cursors.as_ref().filter(|_| has_details) {
            let message = serde_json::json!({ "Cursors": cursors }).to_string();
            socket.send(Message::text(message)).await.map_err(|e| broken(&e.to_string()))?;
        }
        Ok(LogStream { socket, waiting: VecDeque::new(), ended: false, has_details })
    }
}

impl LogStream {
    /// The server knows what was asked for beyond Bacalhau 1.9's parameters. One that does not shows the log of one
    /// execution, from its beginning.
    pub fn has_details(&self) -> bool {
        self.has_details
    }

    /// The next thing; `None` after the end. After an error the stream has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<LogEvent, Error>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => self.take(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => self.take(&bytes),
                Some(Ok(Message::Close(frame))) => {
                    self.ended = true;
                    let normal = frame.as_ref().is_none_or(|f| {
                        matches!(f.code, CloseCode::Normal | CloseCode::Away | CloseCode::Status)
                    });
                    if !normal {
                        let reason = frame.map(|f| f.to_string()).unwrap_or_default();
                        return Some(Err(broken(&reason)));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => self.ended = true,
                Some(Err(e)) => {
                    self.ended = true;
                    return Some(Err(broken(&e.to_string())));
                }
            }
        }
    }

    fn take(&mut self, message: &[u8]) {
        for event in frame::decode(message, self.has_details) {
            self.ended |= event.is_err();
            self.waiting.push_back(event);
        }
    }

    /// Says goodbye to the server; errors do not matter any more.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }
}

fn broken(why: &str) -> Error {
    Error::new("NetworkFailure", format!("the log stream broke off: {why}"))
        .hint("ask again with `bacalhau job logs`; the job goes on")
        .retryable()
}
