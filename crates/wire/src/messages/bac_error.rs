//! Errors as replies.

use crate::envelope::Payload;
use bacalhau_model::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Code of the reply to a node that the orchestrator does not know as connected: it has to shake hands (again).
pub const HANDSHAKE_REQUIRED: &str = "HandshakeRequired";

/// [`Error`] on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BacError {
    /// What went wrong.
    pub cause: String,
    /// What to do about it.
    pub hint: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// It ends its execution.
    pub fails_execution: bool,
    /// Who says it.
    pub component: String,
    /// HTTP status.
    #[serde(rename = "HTTPStatusCode")]
    pub http_status_code: i64,
    /// Further facts.
    pub details: Option<BTreeMap<String, String>>,
    /// Error code.
    pub code: String,
}

impl Payload for BacError {
    const TYPE: &'static str = "BacError";
}

impl From<&Error> for BacError {
    fn from(error: &Error) -> Self {
        BacError {
            cause: error.message.clone(),
            hint: error.hint.clone(),
            retryable: error.retryable,
            fails_execution: error.fails_execution,
            component: error.component.clone().into_owned(),
            http_status_code: i64::from(error.http_status()),
            details: (!error.details.is_empty()).then(|| error.details.clone()),
            code: error.code.clone().into_owned(),
        }
    }
}

impl From<BacError> for Error {
    fn from(wire: BacError) -> Self {
        let status = u16::try_from(wire.http_status_code).unwrap_or(0);
        Error {
            message: wire.cause,
            hint: wire.hint,
            code: wire.code.into(),
            component: wire.component.into(),
            http_status: if (100..=599).contains(&status) { status } else { 0 },
            retryable: wire.retryable,
            fails_execution: wire.fails_execution,
            details: wire.details.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::{json, lenient};

    #[test]
    fn an_unknown_node_is_told_so_in_the_known_words() {
        let error = Error::new(HANDSHAKE_REQUIRED, "node n-1 not connected - handshake required")
            .component("NodesManager")
            .status(428)
            .retryable();
        let wire = BacError::from(&error);
        assert_eq!(
            json::to_string(&wire).unwrap(),
            r#"{"Cause":"node n-1 not connected - handshake required","Hint":"","Retryable":true,"#
                .to_owned()
                + r#""FailsExecution":false,"Component":"NodesManager","HTTPStatusCode":428,"Details":null,"#
                + r#""Code":"HandshakeRequired"}"#
        );
        assert_eq!(Error::from(wire), error);
    }

    #[test]
    fn nonsense_statuses_are_dropped() {
        let wire: BacError = lenient::from_slice(br#"{"HTTPStatusCode":-7,"Details":null}"#).unwrap();
        assert_eq!(Error::from(wire).http_status, 0);
    }
}
