//! Errors about images, in Bacalhau 1.9's words where it has some.

use bacalhau_model::{Error, error::code};

/// Component named in errors.
const COMPONENT: &str = "Images";

/// The name cannot be one of an image.
const IMAGE_INVALID: &str = "ImageInvalid";

/// The registry does not have it, or does not show it to us.
const IMAGE_NOT_FOUND: &str = "ImageNotFound";

pub(crate) fn invalid_name(name: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(IMAGE_INVALID, format!("invalid image format: {name:?}"))
        .component(COMPONENT)
        .status(400)
        .detail("Image", name)
        .detail("Reason", reason.to_string())
        .fails_execution()
        .hint("Write an image as name, name:tag, name@sha256:<digest> or registry/name:tag, in lower case")
}

/// `reason` is what the registry said.
pub(crate) fn not_available(name: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(IMAGE_NOT_FOUND, format!("image not available: \"{name}\": {reason}"))
        .component(COMPONENT)
        .status(404)
        .detail("Image", name)
        .hint(
            "Check the name and the tag. A private image needs credentials on this machine: `docker login`, or \
             DOCKER_USERNAME and DOCKER_PASSWORD for Docker Hub",
        )
}

/// The registry cannot be reached, is overloaded or broken: worth another try.
pub(crate) fn unreachable(registry: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(code::SERVICE_UNAVAILABLE, format!("registry {registry} cannot be used: {reason}"))
        .component(COMPONENT)
        .hint("Check the registry's name and the network of this machine")
        .retryable()
}

/// What came is not what was asked for, or is broken.
pub(crate) fn broken(name: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(code::BAD_REQUEST, format!("image \"{name}\" cannot be used: {reason}")).component(COMPONENT)
}

/// Something of this machine fails: a disk, a credential helper.
pub(crate) fn failed(message: impl Into<String>) -> Error {
    Error::new(code::INTERNAL_ERROR, message).component(COMPONENT).retryable()
}
