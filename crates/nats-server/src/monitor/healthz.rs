//! `/healthz`: is there a loop that turns? There are no streams whose state could matter, so parameters change nothing.

use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;

use super::State;

/// A loop that needs longer for a round is not healthy.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
pub(super) struct Healthz {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The answer and its status.
pub(super) async fn healthz(state: &State) -> (StatusCode, Healthz) {
    match state.alive(PATIENCE).await {
        Ok(()) => (StatusCode::OK, Healthz { status: "ok", status_code: None, error: None }),
        Err(failure) => {
            let status_code = Some(failure.status.as_u16());
            (failure.status, Healthz { status: "unavailable", status_code, error: Some(failure.text) })
        }
    }
}
