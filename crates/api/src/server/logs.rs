//! Log streams over a websocket: upgraded first, so that every error is a frame.

mod item;
mod relay;
mod select;
mod session;
mod stream;
mod wish;
mod words;

use super::App;
use super::input::{Id, Input};
use super::reply::Failure;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use session::Session;
use std::sync::Arc;
use stream::Stream;
use wish::Wish;

/// Largest message of a client, which has nothing to say, bytes.
const MOST_HEARD: usize = 16 * 1024;
/// Of one that says how far it has read each of the executions of a large job.
const MOST_HEARD_TO_RESUME: usize = 1024 * 1024;
/// Bytes set aside for what a client says, and before what is said to it is sent: there may be thousands.
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;
/// Tells clients that this server knows more than Bacalhau 1.9.
const FEATURES: (HeaderName, HeaderValue) =
    (HeaderName::from_static("bacalhau-log-features"), HeaderValue::from_static("all-executions,details"));

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
    let resumes = request.uri().query().is_some_and(|query| query.contains("resume="));
    let most = if resumes { MOST_HEARD_TO_RESUME } else { MOST_HEARD };
    let input = Input::from_request(request, &app).await;
    let upgrade = upgrade.max_message_size(most).max_frame_size(most);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(WRITE_BUFFER);
    let mut response = upgrade.on_upgrade(move |socket| async move {
        let mut stream = Stream::new(socket, &app);
        let result = match input {
            Ok(input) => serve(&app, &id, &input, &mut stream).await,
            Err(failure) => Err(failure),
        };
        if let Err(Failure(error)) = result {
            stream.send_error(&error).await;
        }
        stream.close().await;
        drop(place);
    });
    response.headers_mut().insert(FEATURES.0, FEATURES.1);
    Ok(response)
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

async fn serve(app: &App, id: &str, input: &Input, stream: &mut Stream) -> Result<(), Failure> {
    let wish = Wish::of(input)?;
    if wish.details {
        stream.with_details();
    }
    let cursors = match wish.resume {
        true => session::cursors(&stream.first_message().await)?,
        false => session::Cursors::default(),
    };
    Session::new(app, wish, cursors)?.run(id, stream).await
}
