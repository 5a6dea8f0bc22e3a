//! Log streams: a websocket on the same HTTP client, so that addresses, TLS options and credentials are the same.

use super::{Client, errors};
use bacalhau_model::error::code;
use bacalhau_model::{Error, lenient};
use futures_util::StreamExt;
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Largest message accepted.
const MAX_MESSAGE: usize = 16 << 20;

/// Which log, and how much of it.
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
    /// Go on until the execution ends.
    pub follow: bool,
}

/// A piece of output: usually a line with its newline, but it may be less or more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// True for standard error.
    pub is_stderr: bool,
    /// The text.
    pub text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Frame {
    error: String,
    value: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Value {
    r#type: u8,
    line: String,
}

/// An open log stream. Dropping it closes the connection.
pub struct LogStream {
    socket: WebSocketStream<reqwest::Upgraded>,
    ended: bool,
}

impl Client {
    /// Opens the log stream of a job. A job that does not exist is reported by the first [`LogStream::next`].
    pub async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogStream, Error> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut add = |key: &'static str, value: &str| {
            if !value.is_empty() {
                pairs.push((key, value.to_owned()));
            }
        };
        add("namespace", &query.namespace);
        add("execution_id", &query.execution_id);
        add("tail", if query.tail { "true" } else { "" });
        add("follow", if query.follow { "true" } else { "" });
        if query.version > 0 {
            pairs.push(("job_version", query.version.to_string()));
        }
        let url = self.url(&["orchestrator", "jobs", id, "logs"], &pairs)?;
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
        let upgraded = response.upgrade().await.map_err(|e| errors::transport(self.address(), &e))?;
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        Ok(LogStream { socket, ended: false })
    }
}

impl LogStream {
    /// The next piece of output; `None` after the end. After an error the stream has ended.
    pub async fn next(&mut self) -> Option<Result<LogLine, Error>> {
        while !self.ended {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let line = decode(text.as_bytes());
                    self.ended = line.is_err();
                    return Some(line);
                }
                Some(Ok(Message::Binary(bytes))) => {
                    let line = decode(&bytes);
                    self.ended = line.is_err();
                    return Some(line);
                }
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
        None
    }

    /// Says goodbye to the server; errors do not matter any more.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }
}

fn decode(bytes: &[u8]) -> Result<LogLine, Error> {
    let frame: Frame = lenient::from_slice(bytes).map_err(|e| errors::undecodable("the log request", &e))?;
    if !frame.error.is_empty() {
        return Err(Error::new(code::BAD_REQUEST, frame.error));
    }
    let value = frame.value.unwrap_or_default();
    Ok(LogLine { is_stderr: value.r#type == 2, text: value.line })
}

fn broken(why: &str) -> Error {
    Error::new("NetworkFailure", format!("the log stream broke off: {why}"))
        .hint("ask again with `bacalhau job logs`; the job goes on")
        .retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let line = decode(b"{\"value\":{\"Type\":2,\"Line\":\"a \\u003cb\\u003e\\n\"}}\n").unwrap();
        assert_eq!(line, LogLine { is_stderr: true, text: "a <b>\n".to_owned() });
        let error = decode(br#"{"error":"job not found: x","value":{"Type":0,"Line":""}}"#).unwrap_err();
        assert_eq!(error.message, "job not found: x");
        assert!(decode(b"nonsense").is_err());
    }
}
