//! The client's side of a log stream: frames to it, and whether it is still there.

use crate::server::Shared;
use crate::server::listener::{Phase, reached};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bacalhau_model::Error;
use bacalhau_wire::logs::LogLine;
use bytes::Bytes;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at};

/// Between pings to a client.
const PING: Duration = Duration::from_secs(30);
/// Longest silence of a client, which answers every ping.
const SILENCE: Duration = Duration::from_secs(95);

#[derive(Serialize)]
struct Frame<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
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
        Stream { socket, phase: app.phase.clone(), ping, heard_at: now, end: None }
    }

    /// There is somebody to send to.
    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    pub(super) async fn send_line(&mut self, line: &LogLine) {
        self.send(&Frame { error: "", value: Value { r#type: line.stream, line: &line.line } }).await;
    }

    pub(super) async fn send_error(&mut self, error: &Error) {
        self.send(&Frame { error: &error.message, value: Value { r#type: 0, line: "" } }).await;
    }

    async fn send(&mut self, frame: &Frame<'_>) {
        let mut text = bacalhau_model::json::to_string(frame).unwrap_or_default();
        text.push('\n');
        self.put(Message::text(text)).await;
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
            self.send_error(&Error::plain("the server is stopping; connect again in a moment")).await;
        }
        if self.end != Some(End::Gone) {
            let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            self.put(Message::Close(Some(frame))).await;
        }
    }
}
