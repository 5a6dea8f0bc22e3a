//! What Docker says, in the words and codes of this system.

use super::image::ImageName;
use crate::engines::UNAVAILABLE;
use bacalhau_model::{Error, error::code};
use bollard::errors::Error as DockerError;

/// Component named in errors.
pub(super) const COMPONENT: &str = "Docker";

/// Turns an error of the daemon, met while doing `what`, into one for the user.
pub(super) fn explain(what: &str, error: &DockerError) -> Error {
    let (code, text) = match error {
        DockerError::DockerResponseServerError { status_code, message } => {
            (code_of_status(*status_code), message.trim().to_owned())
        }
        DockerError::RequestTimeoutError => {
            ("Deadline", "the Docker daemon did not answer in time".to_owned())
        }
        DockerError::DockerStreamError { error } => ("UnknownError", error.trim().to_owned()),
        error if is_unreachable(error) => return unreachable(what, &chain(error)),
        error => ("UnknownError", chain(error)),
    };
    let error = Error::new(code, format!("{what}: {text}")).component(COMPONENT);
    match code {
        "Deadline" | UNAVAILABLE => error.retryable(),
        "DataLoss" | "SystemError" => error.fails_execution(),
        _ => error,
    }
}

/// The daemon does not answer or went away.
pub(super) fn unreachable(what: &str, why: &str) -> Error {
    Error::new(UNAVAILABLE, format!("{what}: the Docker daemon cannot be reached: {why}"))
        .component(COMPONENT)
        .retryable()
        .hint("Check on the compute node that Docker runs and that DOCKER_HOST, if set, is right")
}

/// The image cannot be had: it does not exist, or the registry does not show it to this node.
pub(super) fn no_image(image: &ImageName, why: &str) -> Error {
    let mut error = Error::new("ImageNotFound", format!("image not available: {:?}", image.text()))
        .component(COMPONENT)
        .detail("Image", image.text())
        .fails_execution()
        .hint(
            "Check the name and tag of the image. If it is private, log in on the compute node with `docker login`, \
             or set DOCKER_USERNAME and DOCKER_PASSWORD for it",
        );
    if !why.is_empty() {
        error = error.detail("Reason", why);
    }
    error
}

/// An error of the engine itself.
pub(super) fn internal(message: impl Into<String>) -> Error {
    Error::new(code::INTERNAL_ERROR, message).component(COMPONENT)
}

fn code_of_status(status: u16) -> &'static str {
    match status {
        400 => code::BAD_REQUEST,
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        408 | 504 => "Deadline",
        409 => "Conflict",
        499 => "Cancelled",
        500 => "SystemError",
        501 => "NotImplemented",
        503 => UNAVAILABLE,
        _ => "UnknownError",
    }
}

/// True when no answer came because of the connection.
pub(super) fn is_unreachable(error: &DockerError) -> bool {
    matches!(
        error,
        DockerError::IOError { .. }
            | DockerError::HyperResponseError { .. }
            | DockerError::HyperLegacyError { .. }
            | DockerError::SocketNotFoundError(_)
    )
}

/// True when the daemon answered that it does not know the thing.
pub(super) fn is_not_found(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 404, .. })
}

/// True when a container cannot be created because its image is missing, or is there for another platform only.
pub(super) fn is_missing_image(error: &DockerError) -> bool {
    match error {
        DockerError::DockerResponseServerError { status_code: 404, message } => {
            let message = message.to_ascii_lowercase();
            message.contains("no such image") || message.contains("image with reference")
        }
        _ => false,
    }
}

/// True when the daemon answered that the name is taken, or that what was asked for is under way.
pub(super) fn is_conflict(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 409, .. })
}

/// Whether a registry's answer, as the daemon passes it on, means that the image is not there for this node.
pub(super) fn means_no_image(text: &str) -> bool {
    const SIGNS: [&str; 10] = [
        "manifest unknown",
        "not found",
        "no such image",
        "does not exist",
        "access denied",
        "access to the resource is denied",
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "incorrect username or password",
    ];
    let text = text.to_ascii_lowercase();
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
