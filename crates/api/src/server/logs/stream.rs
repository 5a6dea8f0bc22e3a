//! The client's side of a log stream: frames to it, and whether it is still there.

use super::item::{Item, Note, Shown};
use crate::server::Shared;
use crate::server::listener::{Phase, reached};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bacalhau_model::{Error, Time};
use bacalhau_wire::logs::LogLine;
use bytes::Bytes;
use futures_util::SinkExt;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at};

/// Between pings to a client.
const PING: Duration = Duration::from_secs(30);
/// Longest silence of a client, which answers every ping.
const SILENCE: Duration = Duration::from_secs(95);

/// Bytes of frames that are sent in one message to a client that asked for details.
const FULL: usize = 64 * 1024;

/// A frame. All but the first two members are additions to Bacalhau 1.9, for clients that ask for details.
#[derive(Default, Serialize)]
struct Frame<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    value: Value<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retryable: bool,
    #[serde(rename = "Time", skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    #[serde(rename = "ExecutionID", skip_serializing_if = "str::is_empty")]
    execution_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<&'a Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a JobFrame<'a>>,
}

/// The job, before anything else.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JobFrame<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    /// There may be several executions.
    many: bool,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Value<'a> {
    r#type: u8,
    line: &'a str,
}

/// An open stream.
pub(super) struct Stream {
    socket: WebSocket,
    phase: watch::Receiver<Phase>,
    ping: Interval,
    heard_at: Instant,
    end: Option<End>,
    details: bool,
    /// Frames that wait for a full message.
    waiting: Vec<u8>,
}

/// Why a stream ends before its log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client left.
    Gone,
    /// The server stops.
    Stopping,
}

impl Stream {
    pub(super) fn new(socket: WebSocket, app: &Shared) -> Stream {
        let now = Instant::now();
        let ping = interval_at(now + PING, PING);
        Stream {
            socket,
            phase: app.phase.clone(),
            ping,
            heard_at: now,
            end: None,
            details: false,
            waiting: Vec::new(),
        }
    }

    /// There is somebody to send to.
    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The client understands frames with more than Bacalhau 1.9's members, and several in one message.
    pub(super) fn with_details(&mut self) {
        self.details = true;
    }

    /// Says what job it is.
    pub(super) async fn send_job(&mut self, job_id: &str, many: bool) {
        if self.details {
            let job = JobFrame { id: job_id, many };
            self.send(&Frame { job: Some(&job), ..Frame::default() }).await;
        }
    }

    /// Sends an item. It may wait in memory until [`Stream::flush`].
    pub(super) async fn send_item(&mut self, item: &Item) {
        match item {
            Item::Output(of, lines) => {
                for line in lines {
                    self.send_line(of, line).await;
                }
            }
            Item::Execution(shown) if self.details => {
                self.send(&Frame { execution: Some(shown), ..Frame::default() }).await;
            }
            Item::Note(note) if self.details => {
                self.send(&Frame { note: Some(note), ..Frame::default() }).await;
            }
            Item::Execution(_) | Item::Note(_) => {}
        }
    }

    async fn send_line(&mut self, of: &Shown, line: &LogLine) {
        let text = String::from_utf8_lossy(&line.text);
        let mut frame = Frame { value: Value { r#type: line.stream, line: &text }, ..Frame::default() };
        if self.details {
            frame.time = (line.time > 0).then(|| Time::from_unix_nanos(line.time));
            frame.execution_id = &of.id;
        }
        self.send(&frame).await;
    }

    pub(super) async fn send_error(&mut self, error: &Error) {
        let hint = if self.details { error.hint.as_str() } else { "" };
        let retryable = self.details && error.retryable;
        self.send(&Frame { error: &error.message, hint, retryable, ..Frame::default() }).await;
        self.flush().await;
    }

    async fn send(&mut self, frame: &Frame<'_>) {
        if self.details {
            // What cannot be written as JSON is not there: a frame is plain data.
            let _ = serde_json::to_writer(&mut self.waiting, frame);
            self.waiting.push(b'\n');
            if self.waiting.len() >= FULL {
                self.flush().await;
            }
            return;
        }
        let mut text = bacalhau_model::json::to_string(frame).unwrap_or_default();
        text.push('\n');
        if self.socket.feed(Message::text(text)).await.is_err() {
            self.end = Some(End::Gone);
        }
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) {
        if self.waiting.is_empty() {
            if self.socket.flush().await.is_err() {
                self.end = Some(End::Gone);
            }
            return;
        }
        let text = String::from_utf8(std::mem::take(&mut self.waiting)).unwrap_or_default();
        self.put(Message::text(text)).await;
    }

    /// The first message of the client, which it must send soon. Empty when it does not.
    pub(super) async fn first_message(&mut self) -> Vec<u8> {
        match tokio::time::timeout(PING, self.socket.recv()).await {
            Ok(Some(Ok(Message::Text(text)))) => text.as_bytes().to_vec(),
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes.to_vec(),
            _ => Vec::new(),
        }
    }

    async fn put(&mut self, message: Message) {
        if self.socket.send(message).await.is_err() {
            self.end = Some(End::Gone);
        }
    }

    /// Waits until the client says something, leaves, or is silent for too long, or the server stops. Pings are
    /// answered by the socket. Nothing is lost when it is dropped halfway.
    pub(super) async fn heard(&mut self) {
        tokio::select! {
            message = self.socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => self.end = Some(End::Gone),
                Some(Ok(_)) => self.heard_at = Instant::now(),
            },
            _ = self.ping.tick() => {
                if self.heard_at.elapsed() > SILENCE {
                    self.end = Some(End::Gone);
                } else {
                    self.put(Message::Ping(Bytes::new())).await;
                }
            }
            () = reached(&mut self.phase, Phase::Draining) => self.end = Some(End::Stopping),
        }
    }

    /// Says good-bye. Every close is a normal one: clients take others for failures of their own.
    pub(super) async fn close(mut self) {
        if self.end == Some(End::Stopping) {
            self.send_error(&Error::plain("the server is stopping; connect again in a moment").retryable())
                .await;
        }
        if self.end != Some(End::Gone) {
            let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            self.put(Message::Close(Some(frame))).await;
        }
    }
}
