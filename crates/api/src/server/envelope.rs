//! The error body that clients read: `{Status, Message, RequestID, Code, Component, Hint, Details}`, and the errors
//! that are the server's own.

use super::reply;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    status: u16,
    message: &'a str,
    #[serde(rename = "RequestID")]
    request_id: &'a str,
    code: &'a str,
    component: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: &'a BTreeMap<String, String>,
}

/// Encodes an error, with a newline at the end.
pub(super) fn encode(error: &Error, request_id: &str) -> Vec<u8> {
    reply::encode(&Envelope {
        status: error.http_status(),
        message: &error.message,
        request_id,
        code: &error.code,
        component: &error.component,
        hint: &error.hint,
        details: &error.details,
    })
}

/// Something broke on our side; the log has more.
pub(super) fn internal() -> Error {
    Error::new(code::INTERNAL_ERROR, "Internal server error").component("Unknown")
}

/// A body beyond the limit.
pub(super) fn too_large() -> Error {
    Error::new(code::INTERNAL_ERROR, "Request Entity Too Large").component("APIServer").status(413)
}

/// No such route.
pub(super) fn unknown_route() -> Error {
    Error::new(code::NOT_FOUND, "The requested resource/URL was not found.")
        .component("APIServer")
        .hint("The server version may be older than this CLI version and does not support the endpoint yet.")
        .detail(
            "cli_usage",
            "If you are using the CLI, try updating your server to a newer version or check if the command is supported in your server version.",
        )
}
