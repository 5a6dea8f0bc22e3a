//! Around every request, outermost first: CORS, request ID, errors as envelopes, panics, size, rate, time, access,
//! version gate, handler. It decides what an early refusal looks like, and that every answer has its headers.

use super::headers::{complete, preflight, request_id};
use super::reply::{Failure, json_response, redirect_of, unknown_route};
use super::{App, Peer, envelope, gate, pretty};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// The one middleware.
pub(super) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let begun = Instant::now();
    let id = request_id(request.headers());
    let cross_origin = request.headers().contains_key(header::ORIGIN);
    let is_pretty = pretty::is_asked(request.uri().query());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = AssertUnwindSafe(answer(&app, request, next)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| Failure(envelope::internal()).into_response());
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        if error.http_status() >= 500 {
            tracing::error!(request = id, %method, path, code = %error.code, error = error.message, "request failed");
        }
        response = failed(&error, &id, response.headers());
    }
    if is_pretty {
        response = pretty::indented(response).await;
    }
    complete(response.headers_mut(), &app.server_headers, &id, cross_origin);
    tracing::debug!(request = id, %method, path, status = response.status().as_u16(), time = ?begun.elapsed());
    response
}

/// What the request gets: a refusal, or what its handler says within the time there is.
async fn answer(app: &App, request: Request, next: Next) -> Response {
    if let Err(error) = admit(app, &request) {
        return Failure(error).into_response();
    }
    if let Some(refusal) = gate::refusal(request.headers(), &app.parts.version) {
        return refusal;
    }
    // No endpoint knows HEAD; the router would take it for GET.
    if request.method() == Method::HEAD {
        return redirect_of(request.uri().path())
            .map_or_else(|| unknown_route().into_response(), |to| to.response(&Method::HEAD));
    }
    tokio::time::timeout(app.limits.request_time, next.run(request)).await.unwrap_or_else(|_| {
        Failure(
            Error::new(code::SERVICE_UNAVAILABLE, "Server Timeout!")
                .component("APIServer")
                .hint("The server is busy, or the request came too slowly. Try again later"),
        )
        .into_response()
    })
}

/// Size, rate and access.
fn admit(app: &App, request: &Request) -> Result<(), Error> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > app.limits.body as u64) {
        return Err(envelope::too_large());
    }
    let peer = request.extensions().get::<Peer>();
    if peer.is_some_and(|peer| !app.rate.admit(peer.0, Instant::now())) {
        return Err(Error::new(code::INTERNAL_ERROR, "rate limit exceeded")
            .component("APIServer")
            .status(429));
    }
    app.auth.check(request.headers(), request.method(), request.uri().path())
}

/// The envelope of an error, with the headers that its handler or its status asks for.
fn failed(error: &Error, id: &str, headers: &HeaderMap) -> Response {
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, envelope::encode(error, id));
    let out = response.headers_mut();
    let mut keep = |name: HeaderName| {
        if let Some(value) = headers.get(&name) {
            out.insert(name, value.clone());
        }
    };
    keep(header::UPGRADE);
    keep(header::SEC_WEBSOCKET_VERSION);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        keep(header::ALLOW);
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            let schemes = HeaderValue::from_static("Bearer, Basic realm=\"bacalhau\"");
            out.insert(header::WWW_AUTHENTICATE, schemes);
        }
        StatusCode::TOO_MANY_REQUESTS => {
            out.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The rest of the body is not worth reading.
        StatusCode::PAYLOAD_TOO_LARGE => {
            out.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}
