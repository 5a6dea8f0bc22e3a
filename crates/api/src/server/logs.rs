//! Log streams over a websocket: upgraded first, so that every error is a frame.

mod stream;

use super::input::{Id, Input};
use super::jobs::versions_of;
use super::reply::Failure;
use super::{App, Length, Shared};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bacalhau_model::error::code;
use bacalhau_model::{Error, EventKind, Execution, Job};
use bacalhau_orchestrator::LiveEvents;
use bacalhau_store::orchestrator::{OrderBy, Paging, Versions};
use bacalhau_wire::logs::{LogLine, LogRequest};
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tokio::sync::broadcast::error::RecvError;

/// First wait until a node is asked again that had not heard of an execution; doubles up to [`LONGEST_LOOK`].
const LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// Largest message of a client, which has nothing to say, bytes.
const MOST_HEARD: usize = 16 * 1024;

/// What the client asks for.
struct Wish {
    namespace: String,
    execution_id: String,
    follow: bool,
    tail: bool,
    versions: Versions,
}

pub(super) async fn logs(
    State(app): State<App>,
    Id(id): Id,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, Response> {
    let upgrade = upgrade.map_err(|_| no_websocket(request.headers()))?;
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Failure(
            Error::new(code::SERVICE_UNAVAILABLE, "too many log streams are open")
                .component("APIServer")
                .hint("Try again later")
                .retryable(),
        )
        .into_response()
    })?;
    let input = Input::from_request(request, &app).await;
    let upgrade = upgrade.max_message_size(MOST_HEARD).max_frame_size(MOST_HEARD);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let mut stream = Stream::new(socket, &app);
        let result = match input {
            Ok(input) => serve(&app, id, &input, &mut stream).await,
            Err(failure) => Err(failure),
        };
        if let Err(Failure(error)) = result {
            stream.send_error(&error).await;
        }
        stream.close().await;
        drop(place);
    }))
}

/// A websocket is the only way; one that is asked for in a wrong way is told so.
fn no_websocket(headers: &HeaderMap) -> Response {
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    let (status, message) = match upgrade.eq_ignore_ascii_case(b"websocket") {
        true => (StatusCode::BAD_REQUEST, "the websocket handshake is incomplete"),
        false => (StatusCode::UPGRADE_REQUIRED, "logs are a websocket stream"),
    };
    let mut response = Failure(
        Error::new(code::BAD_REQUEST, message)
            .component("APIServer")
            .status(status.as_u16())
            .hint("Connect with a websocket client, or use: bacalhau job logs <job>"),
    )
    .into_response();
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

async fn serve(app: &Shared, id: String, input: &Input, stream: &mut Stream) -> Result<(), Failure> {
    let wish = Wish {
        namespace: input.text("namespace")?,
        execution_id: input.text("execution_id")?,
        follow: input.boolean("follow")?,
        tail: input.boolean("tail")?,
        versions: versions_of(input)?,
    };
    let mut pause = LOOK;
    while let Some(execution) = find(app, &id, &wish, stream).await? {
        let printed = relay(app, &execution, &wish, stream).await?;
        if printed || !wish.follow || execution.is_terminal() {
            break;
        }
        // The node may not have heard of it yet. If it printed nothing, the record will say soon that it is over.
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = LONGEST_LOOK.min(pause * 2),
            () = stream.heard() => {}
        }
    }
    Ok(())
}

/// Passes on what an execution prints. True when it printed something.
async fn relay(
    app: &Shared,
    execution: &Execution,
    wish: &Wish,
    stream: &mut Stream,
) -> Result<bool, Failure> {
    let request = LogRequest { execution_id: execution.id.clone(), follow: wish.follow, tail: wish.tail };
    let mut lines = match app.backend()?.logs(&execution.node_id, request).await {
        Ok(lines) => lines,
        Err(error) => return recorded(execution, wish, stream, error).await.map(|()| true),
    };
    let mut any = false;
    while stream.is_open() {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Ok(line)) => {
                    any = true;
                    stream.send_line(&line).await;
                }
                Some(Err(error)) if any => return Err(Failure(error)),
                Some(Err(error)) => return recorded(execution, wish, stream, error).await.map(|()| true),
                None => break,
            },
            () = stream.heard() => {}
        }
    }
    Ok(any)
}

/// The node cannot give the log any more: the beginning of the output is in the record of a finished execution. If
/// there is none, the node's error it is.
async fn recorded(
    execution: &Execution,
    wish: &Wish,
    stream: &mut Stream,
    error: Error,
) -> Result<(), Failure> {
    let output = &execution.run_output;
    if !execution.is_terminal() || wish.tail || (output.stdout.is_empty() && output.stderr.is_empty()) {
        return Err(Failure(error));
    }
    for (number, text) in [(1, &output.stdout), (2, &output.stderr)] {
        if !text.is_empty() {
            stream.send_line(&LogLine { stream: number, line: text.clone() }).await;
        }
    }
    Ok(())
}

/// The execution asked for; else the most recently changed one, preferring those that did not fail. With `follow` it
/// waits for a job that has none yet. `None` when the stream ended meanwhile.
async fn find(
    app: &Shared,
    id: &str,
    wish: &Wish,
    stream: &mut Stream,
) -> Result<Option<Execution>, Failure> {
    let (namespace, id) = (wish.namespace.clone(), id.to_owned());
    let job_id = app.read(Length::Short, move |records| Ok(records.resolve(&namespace, &id)?.id)).await?;
    let versions = if wish.versions == Versions::Latest { Versions::All } else { wish.versions };
    // Before the first look: what happens in between is heard.
    let mut events = app.backend()?.live_events()?;
    let newest = Paging { order_by: OrderBy::Modified, reverse: true, ..Paging::default() };
    while stream.is_open() {
        let id = job_id.clone();
        // The job first: an execution that ends a job is then among those read after it.
        let read = app.read(Length::Unknown, move |records| {
            let job = records.job(&id, 0)?;
            Ok((job, records.executions(&id, versions, newest)?.items))
        });
        let (job, executions) = read.await?;
        if let Some(found) = choose(&job, executions, wish)? {
            return Ok(Some(found));
        }
        tokio::select! {
            () = something_happened(&mut events, &job_id) => {}
            () = stream.heard() => {}
        }
    }
    Ok(None)
}

/// Completes when a job or one of its executions changed, or may have.
async fn something_happened(events: &mut LiveEvents, job_id: &str) {
    loop {
        match events.recv().await {
            Ok(event) if event.subject_id != job_id => {}
            Ok(event) if matches!(event.kind, EventKind::Job | EventKind::Execution) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The orchestrator stops, and this server with it.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// `None` when it is worth waiting for one.
fn choose(job: &Job, executions: Vec<Execution>, wish: &Wish) -> Result<Option<Execution>, Failure> {
    let (id, version, wanted) = (&job.id, job.version, &wish.execution_id);
    if !wanted.is_empty() {
        let found = executions.into_iter().find(|e| &e.id == wanted);
        let missing = || {
            failed(job, format!("unable to find execution {wanted} in job {id} and job version {version}"))
        };
        return found.map(Some).ok_or_else(missing);
    }
    let fine = executions.iter().find(|e| !e.compute_state.state_type.is_discarded());
    if let Some(found) = fine {
        return Ok(Some(found.clone()));
    }
    let over = job.is_terminal();
    if over || !wish.follow {
        if let Some(last) = executions.into_iter().next() {
            return Ok(Some(last));
        }
        let why = match over && !job.state.message.is_empty() {
            true => format!(": {}", job.state.message),
            false => String::new(),
        };
        let name = &job.name;
        return Err(failed(
            job,
            format!("no executions found for job {name} with ID {id}, and version {version}{why}"),
        ));
    }
    Ok(None)
}

fn failed(job: &Job, why: String) -> Failure {
    Failure(Error::new(code::NOT_FOUND, format!("failed to open log stream for job {}: {why}", job.id)))
}
