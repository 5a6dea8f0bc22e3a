//! Why a request is not answered with what it asked for.

use hyper::StatusCode;

/// A failed request; the text goes to the caller as it is.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Failure {
    /// A parameter that cannot be understood.
    pub(super) fn bad(text: String) -> Failure {
        Failure { status: StatusCode::BAD_REQUEST, text }
    }

    /// The server is stopping, or has too much to do.
    pub(super) fn unavailable(text: &str) -> Failure {
        Failure { status: StatusCode::SERVICE_UNAVAILABLE, text: text.to_owned() }
    }
}
