//! The error that travels from where it arises to the user: code, message, hint, HTTP status, retryability.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Generic codes and the HTTP status that each implies (Bacalhau 1.9's list).
pub mod code {
    /// 400
    pub const BAD_REQUEST: &str = "BadRequest";
    /// 400
    pub const VALIDATION_ERROR: &str = "ValidationError";
    /// 401
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// 403
    pub const FORBIDDEN: &str = "Forbidden";
    /// 404
    pub const NOT_FOUND: &str = "NotFound";
    /// 409
    pub const RESOURCE_IN_USE: &str = "ResourceInUse";
    /// 429
    pub const RESOURCE_EXHAUSTED: &str = "ResourceExhausted";
    /// 501
    pub const NOT_IMPLEMENTED: &str = "NotImplemented";
    /// 503
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
    /// 500
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// 500
    pub const CONFIGURATION_ERROR: &str = "ConfigurationError";
    /// 500
    pub const TIME_OUT: &str = "TimeOut";
}

/// An error for people and for programs. `message` says what was tried and found, `hint` what to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub message: String,
    /// What the user can do; may have several lines; empty when there is nothing to add.
    pub hint: String,
    /// One of [`code`], or a component's own code; may be empty.
    pub code: Cow<'static, str>,
    /// Which part of the system said it.
    pub component: Cow<'static, str>,
    /// Explicit HTTP status; 0 means "infer from the code".
    pub http_status: u16,
    /// True when the same request may succeed later.
    pub retryable: bool,
    /// True when the error ends the execution it concerns.
    pub fails_execution: bool,
    /// Further facts.
    pub details: BTreeMap<String, String>,
}

impl Error {
    /// An error with a code.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        Error {
            message: message.into(),
            code: code.into(),
            component: Cow::Borrowed("Bacalhau"),
            ..Error::default()
        }
    }

    /// An error that Bacalhau 1.9 sends without a code.
    pub fn plain(message: impl Into<String>) -> Error {
        Error::new("", message)
    }

    /// Names the component.
    #[must_use]
    pub fn component(mut self, component: impl Into<Cow<'static, str>>) -> Error {
        self.component = component.into();
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = hint.into();
        self
    }

    /// Sets the HTTP status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Error {
        self.http_status = status;
        self
    }

    /// Marks the error as worth a retry.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.retryable = true;
        self
    }

    /// Marks the error as the end of its execution.
    #[must_use]
    pub fn fails_execution(mut self) -> Error {
        self.fails_execution = true;
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Into<String>) -> Error {
        self.details.insert(key.into(), value.into());
        self
    }

    /// HTTP status: the explicit one, else what the code implies.
    pub fn http_status(&self) -> u16 {
        match (self.http_status, self.code.as_ref()) {
            (0, code::BAD_REQUEST | code::VALIDATION_ERROR) => 400,
            (0, code::UNAUTHORIZED) => 401,
            (0, code::FORBIDDEN) => 403,
            (0, code::NOT_FOUND) => 404,
            (0, code::RESOURCE_IN_USE) => 409,
            (0, code::RESOURCE_EXHAUSTED) => 429,
            (0, code::NOT_IMPLEMENTED) => 501,
            (0, code::SERVICE_UNAVAILABLE) => 503,
            (0, _) => 500,
            (status, _) => status,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
