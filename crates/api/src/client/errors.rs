//! Turns failed requests into errors that say what to do: the server cannot be reached, it said no, or it said
//! something that nobody understands.

use super::types::ErrorBody;
use bacalhau_model::error::code;
use bacalhau_model::{Error, lenient};
use std::error::Error as _;

const COMPONENT: &str = "HTTPClient";

/// A request that got no answer.
pub(super) fn transport(base: &str, error: &reqwest::Error) -> Error {
    let fail =
        |code: &'static str, message: String| Error::new(code, message).component(COMPONENT).retryable();
    if error.is_dns() {
        fail(code::BAD_REQUEST, format!("host not found: {base}")).hint(address_hint(base))
    } else if error.is_connect() {
        let cause = root_cause(error);
        let text = format!("server is not running or not reachable at {base}");
        if mentions_tls(&cause) {
            let hint = "the address answered, but not with a certificate this client accepts\n\
                        to trust a private authority use -c API.TLS.CAFile=<file.pem>; \
                        to skip the check (tests only) use -c API.TLS.Insecure=true";
            return fail("NetworkFailure", format!("cannot set up TLS with {base}: {cause}")).hint(hint);
        }
        fail(code::SERVICE_UNAVAILABLE, text).hint(address_hint(base)).detail("cause", cause)
    } else if error.is_timeout() {
        fail(code::TIME_OUT, format!("request timed out: no answer from {base}"))
            .hint("the server is busy or the network is slow: try again")
    } else {
        fail("NetworkFailure", format!("network error: {}", root_cause(error)))
    }
}

fn mentions_tls(cause: &str) -> bool {
    let cause = cause.to_ascii_lowercase();
    cause.contains("certificate") || cause.contains("tls") || cause.contains("handshake")
}

/// The innermost cause; outer layers only repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// How to point the client at another server.
fn address_hint(base: &str) -> String {
    format!(
        "to resolve this, either:\n\
         1. make sure that the server runs and that {base} is reachable from here; or\n\
         2. name another server in one of these ways:\n   \
            a. command line flags: --api-host and --api-port\n   \
            b. configuration flags: -c API.Host=<host> -c API.Port=<port>\n   \
            c. once and for all: bacalhau config set API.Host=<host>, or a profile: \
            bacalhau profile save <name> --endpoint <url> --select"
    )
}

/// An answer with another status than 200.
pub(super) fn refused(status: u16, body: &[u8]) -> Error {
    let parsed: Option<ErrorBody> = lenient::from_slice(body).ok();
    let parsed = parsed.unwrap_or_default();
    if parsed.message.is_empty() && !parsed.error.is_empty() {
        // The version gate has a body of its own.
        return Error::new(code::FORBIDDEN, parsed.error).component("APIServer").status(status);
    }
    if parsed.message.is_empty() {
        return unreadable(status, body);
    }
    let mut error = Error::new(parsed.code, parsed.message)
        .component(parsed.component)
        .status(if parsed.status == 0 { status } else { parsed.status });
    error.details = parsed.details;
    if !parsed.request_id.is_empty() {
        error = error.detail("request_id", parsed.request_id);
    }
    if !parsed.hint.is_empty() {
        error = error.hint(parsed.hint);
    }
    if status == 401 {
        error = error.hint(CREDENTIALS_HINT);
    }
    if status == 404 && error.hint.is_empty() && error.message.starts_with("job not found") {
        error = error.hint(JOB_HINT);
    }
    error
}

const JOB_HINT: &str = "names are looked up in the namespace `default` unless --namespace names another; \
                        `bacalhau job list --limit 0` shows all jobs";

const CREDENTIALS_HINT: &str = "the server wants credentials: set BACALHAU_API_KEY, or BACALHAU_API_USERNAME and \
                                BACALHAU_API_PASSWORD, or use a profile that holds a token";

/// An error answer that is not the API's: most likely something else listens there.
fn unreadable(status: u16, body: &[u8]) -> Error {
    if status == 401 {
        return Error::new(code::UNAUTHORIZED, "unauthorized")
            .component(COMPONENT)
            .status(status)
            .hint(CREDENTIALS_HINT);
    }
    let text: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
    let said = if text.is_empty() { "nothing".to_owned() } else { format!("{text:?}") };
    Error::new(code::INTERNAL_ERROR, format!("the server answered with HTTP status {status} and said {said}"))
        .component(COMPONENT)
        .status(status)
        .hint("check that the address is that of a Bacalhau server and not of a proxy or another program")
}

/// A 200 whose body does not decode.
pub(super) fn undecodable(path: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(code::INTERNAL_ERROR, format!("cannot read the server's answer to {path}: {why}"))
        .component(COMPONENT)
        .hint(
            "check that the address is that of a Bacalhau server, and that its version is not older than 1.5",
        )
}

/// A request that could not even be built.
pub(super) fn unbuildable(what: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(code::BAD_REQUEST, format!("{what}: {why}")).component(COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_not_found_may_be_in_another_namespace() {
        let error = refused(404, br#"{"Status":404,"Message":"job not found: x","Code":"NotFound"}"#);
        assert!(error.hint.contains("--namespace"), "{error:?}");
        let node = refused(404, br#"{"Status":404,"Message":"node not found: x","Code":"NotFound"}"#);
        assert!(node.hint.is_empty(), "{node:?}");
    }

    #[test]
    fn reads_the_envelope() {
        let body = br#"{"Status":404,"Message":"job not found: j-1","RequestID":"r","Code":"NotFound","Component":"JobStore","Details":{"a":"b"}}"#;
        let error = refused(404, body);
        assert_eq!(error.message, "job not found: j-1");
        assert_eq!(error.code, "NotFound");
        assert_eq!(error.http_status(), 404);
        assert_eq!(error.details.get("request_id").map(String::as_str), Some("r"));
    }

    #[test]
    fn other_bodies_are_quoted() {
        let error = refused(502, b"<html>bad gateway</html>");
        assert!(error.message.contains("502") && error.message.contains("bad gateway"), "{}", error.message);
        assert_eq!(refused(401, b"").message, "unauthorized");
        let gate = refused(
            403,
            br#"{"Error":"Client version is outdated. Update your client","MinVersion":"1.4.0"}"#,
        );
        assert_eq!(gate.message, "Client version is outdated. Update your client");
        // Details that are not strings make the envelope unreadable, not the program.
        assert!(refused(500, br#"{"Message":"x","Details":{"a":1}}"#).message.contains("500"));
    }
}
