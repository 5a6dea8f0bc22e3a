//! Log streams over a websocket: upgraded first, so that every error is a frame.

use super::App;
use super::input::Input;
use super::jobs::{orchestrator, resolve, versions_of};
use super::reply::Failure;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::Response;
use bacalhau_model::{Error, Execution, Job};
use bacalhau_store::orchestrator::{OrderBy, Paging, Versions};
use bacalhau_wire::logs::{LogLine, LogRequest};
use serde::Serialize;
use std::time::Duration;

/// Between looks whether a job has an execution by now.
const LOOK: Duration = Duration::from_millis(50);

/// What the client asks for.
struct Wish {
    execution_id: String,
    follow: bool,
    tail: bool,
    versions: Versions,
}

pub(super) async fn logs(
    State(app): State<App>,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let upgrade = upgrade.map_err(|_| {
        Failure(
            Error::new("BadRequest", "logs are a websocket stream")
                .component("APIServer")
                .status(426)
                .hint("Connect with a websocket client, or use: bacalhau job logs <job>"),
        )
    })?;
    let input = Input::from_request(request, &()).await;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let mut stream = Stream { socket, open: true };
        let result = match input {
            Ok(input) => serve(&app, &id, &input, &mut stream).await,
            Err(failure) => Err(failure),
        };
        if let Err(Failure(error)) = result {
            stream.send(&Frame::error(&error)).await;
        }
        stream.close().await;
    }))
}

async fn serve(app: &App, id: &str, input: &Input, stream: &mut Stream) -> Result<(), Failure> {
    let wish = Wish {
        execution_id: input.text("execution_id")?,
        follow: input.boolean("follow")?,
        tail: input.boolean("tail")?,
        versions: versions_of(input)?,
    };
    let job = resolve(app, id, input)?;
    let Some(execution) = find(app, &job, &wish, stream).await? else { return Ok(()) };
    let orchestrator = orchestrator(app)?;
    let request = LogRequest { execution_id: execution.id.clone(), follow: wish.follow, tail: wish.tail };
    let mut lines = match orchestrator.logs(&execution.node_id, request).await {
        Ok(lines) => lines,
        Err(error) => return recorded(&execution, &wish, stream).await.unwrap_or(Err(Failure(error))),
    };
    let mut any = false;
    while stream.open {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Ok(line)) => {
                    any = true;
                    stream.send(&Frame::line(line)).await;
                }
                Some(Err(error)) if any => return Err(Failure(error)),
                Some(Err(error)) => return recorded(&execution, &wish, stream).await.unwrap_or(Err(Failure(error))),
                None => break,
            },
            () = stream.heard() => {}
        }
    }
    Ok(())
}

/// The node cannot give the log any more: the beginning of the output is in the record of a finished execution.
async fn recorded(execution: &Execution, wish: &Wish, stream: &mut Stream) -> Option<Result<(), Failure>> {
    let output = &execution.run_output;
    if !execution.is_terminal() || wish.tail || (output.stdout.is_empty() && output.stderr.is_empty()) {
        return None;
    }
    for (number, text) in [(1, &output.stdout), (2, &output.stderr)] {
        if !text.is_empty() {
            stream.send(&Frame::line(LogLine { stream: number, line: text.clone() })).await;
        }
    }
    Some(Ok(()))
}

/// The execution asked for; else the most recently changed one, preferring those that did not fail. With `follow` it
/// waits for a job that has none yet. `None` when the client left meanwhile.
async fn find(app: &App, job: &Job, wish: &Wish, stream: &mut Stream) -> Result<Option<Execution>, Failure> {
    let reader = orchestrator(app)?.reader();
    let versions = if wish.versions == Versions::Latest { Versions::All } else { wish.versions };
    let newest = Paging { order_by: OrderBy::Modified, reverse: true, ..Paging::default() };
    while stream.open {
        let over = reader.job(&job.id, 0)?.is_terminal();
        let all = reader.executions(&job.id, versions, newest)?.items;
        if !wish.execution_id.is_empty() {
            let found = all.into_iter().find(|e| e.id == wish.execution_id);
            return found.map(Some).ok_or_else(|| {
                failed(
                    job,
                    format!(
                        "unable to find execution {} in job {} and job version {}",
                        wish.execution_id, job.id, job.version
                    ),
                )
            });
        }
        let fine = all.iter().find(|e| !e.compute_state.state_type.is_discarded());
        if let Some(found) = fine.or(all.first()).filter(|e| over || !e.is_terminal() || fine.is_some()) {
            return Ok(Some(found.clone()));
        }
        if over || !wish.follow {
            let why = match over && !job.state.message.is_empty() {
                true => format!(": {}", job.state.message),
                false => String::new(),
            };
            return Err(failed(
                job,
                format!(
                    "no executions found for job {} with ID {}, and version {}{why}",
                    job.name, job.id, job.version
                ),
            ));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stream.heard() => {}
        }
    }
    Ok(None)
}

fn failed(job: &Job, why: String) -> Failure {
    Failure(Error::new("NotFound", format!("failed to open log stream for job {}: {why}", job.id)))
}

#[derive(Serialize)]
struct Frame {
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    value: Line,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    r#type: u8,
    line: String,
}

impl Frame {
    fn line(line: LogLine) -> Frame {
        Frame { error: String::new(), value: Line { r#type: line.stream, line: line.line } }
    }

    fn error(error: &Error) -> Frame {
        Frame { error: error.message.clone(), value: Line { r#type: 0, line: String::new() } }
    }
}

/// The client's side of the socket.
struct Stream {
    socket: WebSocket,
    open: bool,
}

impl Stream {
    async fn send(&mut self, frame: &Frame) {
        let mut text = bacalhau_model::json::to_string(frame).unwrap_or_default();
        text.push('\n');
        if self.socket.send(Message::text(text)).await.is_err() {
            self.open = false;
        }
    }

    /// Waits for the client to say something; pings are answered by the socket. Notices when the client leaves.
    async fn heard(&mut self) {
        match self.socket.recv().await {
            Some(Ok(Message::Close(_)) | Err(_)) | None => self.open = false,
            Some(Ok(_)) => {}
        }
    }

    async fn close(mut self) {
        if self.open {
            let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            // A client that is gone needs no good-bye.
            let _ = self.socket.send(Message::Close(Some(frame))).await;
        }
    }
}
