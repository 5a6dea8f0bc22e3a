//! What the proxy itself says to a task.

use super::dial::Refusal;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

/// A short text with a status. The task's connection stays usable.
pub(super) fn answer(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("bacalhau: {text}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why there is no connection: 403 when the list is the reason, 502 or 504 when the network is.
pub(super) fn refused(refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        refusal if refusal.is_denial() => StatusCode::FORBIDDEN,
        Refusal::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    answer(status, &refusal.to_string())
}
