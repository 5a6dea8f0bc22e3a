//! Clients that are too old, or whose version cannot be read, are refused, with bodies of their own kind.

use super::headers::GIT_VERSION;
use super::reply::{encode, json_response};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bacalhau_model::BuildVersion;
use bacalhau_model::version::SemVer;
use serde::Serialize;

/// Oldest client that is served.
const OLDEST_CLIENT: (u64, u64, u64) = (1, 4, 0);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Invalid {
    error: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Outdated<'a> {
    error: &'a str,
    min_version: &'a str,
    client_version: &'a str,
    server_version: &'a str,
}

/// The refusal, if there is one. Clients that do not say their version, and development builds, pass.
pub(super) fn refusal(headers: &HeaderMap, own: &BuildVersion) -> Option<Response> {
    let text = headers.get(GIT_VERSION)?.to_str().unwrap_or("?");
    if text.is_empty() || matches!(text, "v0.0.0" | "v0.0.0-xxxxxxx") {
        return None;
    }
    let Some(version) = SemVer::parse(text) else {
        let body = Invalid { error: format!("Invalid client version {text}") };
        return Some(json_response(StatusCode::BAD_REQUEST, encode(&body)));
    };
    if !version.is_before(OLDEST_CLIENT) {
        return None;
    }
    let body = Outdated {
        error: "Client version is outdated. Update your client",
        min_version: "1.4.0",
        client_version: text.trim_start_matches('v'),
        server_version: own.git_version.trim_start_matches('v'),
    };
    Some(json_response(StatusCode::FORBIDDEN, encode(&body)))
}
