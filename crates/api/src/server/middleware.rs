//! Around every request: CORS, request ID, time limit, panics, version gate, server headers, error envelope.

use super::App;
use super::envelope;
use super::reply::{Failure, json_response};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bacalhau_model::version::SemVer;
use bacalhau_model::{BuildVersion, Error};
use futures_util::FutureExt;
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Longest that a handler may take. Log streams are exempt.
const LONGEST: Duration = Duration::from_secs(30);
/// Oldest client that is served.
const OLDEST_CLIENT: (u64, u64, u64) = (1, 4, 0);
/// Longest request ID that is echoed.
const LONGEST_ID: usize = 256;

const REQUEST_ID: &str = "x-request-id";
const GIT_VERSION: &str = "x-bacalhau-git-version";

/// The one middleware.
pub(super) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let id = request_id(request.headers());
    let origin = request.headers().contains_key(header::ORIGIN);
    let pretty = request
        .uri()
        .query()
        .is_some_and(|q| q.split('&').any(|p| p == "pretty" || p.starts_with("pretty=")));
    let head = request.method() == Method::HEAD;
    let mut response = match gate(request.headers(), &app.version) {
        Some(refused) => refused,
        None => served(request, next).await,
    };
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        response = failed(&error, &id, response.headers());
    }
    if pretty {
        response = indented(response).await;
    }
    if head {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    server_headers(headers, &app.version);
    insert(headers, REQUEST_ID, &id);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

/// Runs the handler within its time; a panic in it is an error of this request alone.
async fn served(request: Request, next: Next) -> Response {
    let unlimited = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let handler = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if unlimited { Ok(handler.await) } else { tokio::time::timeout(LONGEST, handler).await };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            Failure(envelope::internal()).into_response()
        }
        Err(_) => Failure(
            Error::new("ServiceUnavailable", "Server Timeout!")
                .component("APIServer")
                .hint("The server is busy; try again later")
                .retryable(),
        )
        .into_response(),
    }
}

fn failed(error: &Error, id: &str, headers: &HeaderMap) -> Response {
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        tracing::warn!(request = id, status = status.as_u16(), error = error.message, "request failed");
    }
    let mut response = json_response(status, envelope::encode(error, id));
    if let Some(allow) = headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// Too old or unreadable client versions are refused, with bodies of their own kind.
fn gate(headers: &HeaderMap, own: &BuildVersion) -> Option<Response> {
    let text = headers.get(GIT_VERSION)?.to_str().unwrap_or("?");
    if text.is_empty() || text.starts_with("v0.0.0") {
        return None;
    }
    let Some(version) = SemVer::parse(text) else {
        let body = json!({"Error": format!("Invalid client version {text}")});
        return Some(refusal(StatusCode::BAD_REQUEST, &body));
    };
    if !version.is_before(OLDEST_CLIENT) {
        return None;
    }
    // The order of the members is that of Bacalhau 1.9, which serde_json's own maps would not keep.
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Outdated<'a> {
        error: &'a str,
        min_version: &'a str,
        client_version: &'a str,
        server_version: &'a str,
    }
    let body = Outdated {
        error: "Client version is outdated. Update your client",
        min_version: "1.4.0",
        client_version: text.trim_start_matches('v'),
        server_version: own.git_version.trim_start_matches('v'),
    };
    Some(refusal(StatusCode::FORBIDDEN, &body))
}

fn refusal<T: serde::Serialize>(status: StatusCode, body: &T) -> Response {
    let mut bytes = bacalhau_model::json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    json_response(status, bytes)
}

fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    match sent.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::new_v4().simple().to_string(),
    }
}

fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    out.append(header::VARY, HeaderValue::from_static("Origin"));
    if headers.contains_key(header::ORIGIN) {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let methods = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        out.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        out.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    response
}

fn server_headers(headers: &mut HeaderMap, version: &BuildVersion) {
    insert(headers, GIT_VERSION, &version.git_version);
    insert(headers, "x-bacalhau-git-commit", &version.git_commit);
    let built = version.build_date.to_string().replace('T', " ").replace('Z', " +0000 UTC");
    insert(headers, "x-bacalhau-build-date", &built);
    insert(headers, "x-bacalhau-build-os", &version.goos);
    insert(headers, "x-bacalhau-arch", &version.goarch);
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// `?pretty`: the same JSON, indented. Anything that is no JSON stays as it is.
async fn indented(response: Response) -> Response {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == "application/json");
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(indent(&bytes)))
}

/// Indents by two spaces, keeping the order of members: no detour through a map that would sort them.
fn indent(json: &[u8]) -> Vec<u8> {
    let (mut out, mut depth, mut text, mut escaped) =
        (Vec::with_capacity(json.len() * 2), 0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if text {
            out.push(byte);
            (escaped, text) = match byte {
                b'\\' if !escaped => (true, true),
                b'"' if !escaped => (false, false),
                _ => (false, true),
            };
            continue;
        }
        match byte {
            b'{' | b'[' if bytes.peek().is_some_and(|next| matches!(next, b'}' | b']')) => {
                out.push(byte);
                out.extend(bytes.next());
            }
            b'{' | b'[' => {
                depth += 1;
                out.push(byte);
                newline(&mut out, depth);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend(b": "),
            b'"' => {
                text = true;
                out.push(byte);
            }
            b'\n' => out.extend(b"\n\n"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indenting_keeps_order_and_texts() {
        let json = br#"{"b":[1,{"a":"x,{\"}"}],"a":{},"c":[]}"#;
        let expected = "{\n  \"b\": [\n    1,\n    {\n      \"a\": \"x,{\\\"}\"\n    }\n  ],\n  \"a\": {},\n  \"c\": []\n}";
        assert_eq!(String::from_utf8(indent(json)).unwrap(), expected);
    }
}
