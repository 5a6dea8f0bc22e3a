//! Headers that every answer carries, and answers that are headers only: CORS, request IDs, who the server is.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bacalhau_model::BuildVersion;

/// Longest request ID that is echoed, bytes.
const LONGEST_ID: usize = 256;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's version in requests, the server's in answers.
pub(super) const GIT_VERSION: HeaderName = HeaderName::from_static("x-bacalhau-git-version");

/// The request's own ID, or a fresh one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    match sent.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::new_v4().simple().to_string(),
    }
}

/// What the server says of itself in every answer.
pub(super) fn of_server(version: &BuildVersion) -> HeaderMap {
    let built = version.build_date.to_string().replace('T', " ").replace('Z', " +0000 UTC");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (GIT_VERSION, version.git_version.as_str()),
        (HeaderName::from_static("x-bacalhau-git-commit"), &version.git_commit),
        (HeaderName::from_static("x-bacalhau-build-date"), &built),
        (HeaderName::from_static("x-bacalhau-build-os"), &version.goos),
        (HeaderName::from_static("x-bacalhau-arch"), &version.goarch),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Completes an answer.
pub(super) fn complete(headers: &mut HeaderMap, of_server: &HeaderMap, id: &str, cross_origin: bool) {
    headers.extend(of_server.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if cross_origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// The answer to any `OPTIONS`: everybody may ask anything, without credentials.
pub(super) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    out.append(header::VARY, HeaderValue::from_static("Origin"));
    if asked.contains_key(header::ORIGIN) {
        out.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        out.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let methods = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
    response
}
