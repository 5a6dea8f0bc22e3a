//! Who may do what: users with passwords or API keys, each with capabilities such as `read:job`.
//!
//! Without users everything is allowed, as in Bacalhau 1.9. Secrets are kept as SHA-256 digests only, compared in
//! constant time, and never shown. Tokens of identity providers and policies are not supported: a configuration that
//! asks for them must not be started.

mod accounts;
mod capability;

pub use accounts::{AuthConfig, Capability, User};

use accounts::Account;
use axum::http::{HeaderMap, Method, header};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

impl AuthConfig {
    /// Whether a request is allowed; the error is what its sender gets.
    pub(super) fn check(&self, headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        let Some(wanted) = capability::wanted(method, path) else { return Ok(()) };
        let account = self.account(headers).map_err(unauthorized)?;
        if account.may(&wanted) {
            return Ok(());
        }
        tracing::warn!(user = account.shown, capability = wanted.text, "access refused");
        let reason = format!("{} does not have the required capability '{}'", account.shown, wanted.text);
        Err(Error::new(code::FORBIDDEN, "Request Forbidden")
            .component("Authorizer")
            .hint("Check if user have access to this resource. Event has been recorded.")
            .detail("reason", reason))
    }

    fn account(&self, headers: &HeaderMap) -> Result<&Account, &'static str> {
        let value = headers.get(header::AUTHORIZATION).ok_or("Missing Authorization header")?;
        let text = value.to_str().map_err(|_| "unsupported authentication method")?;
        match text.split_once(' ') {
            Some(("Basic", encoded)) => self.by_password(encoded),
            Some(("Bearer", token)) if is_jwt(token) => Err("OAuth2 authentication not configured on server"),
            Some(("Bearer", key)) => self.by_key(key.as_bytes()).ok_or("invalid API key"),
            _ => Err("unsupported authentication method"),
        }
    }

    fn by_password(&self, encoded: &str) -> Result<&Account, &'static str> {
        let plain = STANDARD.decode(encoded).map_err(|_| "failed to decode basic auth credentials")?;
        let colon = plain.iter().position(|b| *b == b':').ok_or("invalid basic auth credentials format")?;
        let (name, password) = plain.split_at(colon);
        let password = password.strip_prefix(b":").unwrap_or(password);
        let name = String::from_utf8_lossy(name).to_lowercase();
        self.by_name_and_password(&name, password).ok_or("invalid basic auth credentials")
    }
}

fn unauthorized(reason: &'static str) -> Error {
    tracing::warn!(reason, "access without valid credentials");
    Error::new(code::UNAUTHORIZED, "Request Unauthorized")
        .component("Authorizer")
        .hint("Unauthorized principal. Event has been recorded.")
        .detail("reason", reason)
}

/// Three parts with dots between, of which the first two are JSON objects.
fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let mut is_object = || {
        let bytes = parts.next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
        matches!(serde_json::from_slice(&bytes), Ok(Value::Object(_)))
    };
    let objects = is_object() && is_object();
    objects && parts.next().is_some() && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> AuthConfig {
        AuthConfig::from_json(json!([
            {"Alias": "Boss", "Username": "admin", "Password": "long enough 1", "Capabilities": [{"Actions": ["*"]}]},
            {"Username": "Reader", "Password": "pass:with:colons", "Capabilities": [{"Actions": ["read:*"]}]},
            {"APIKey": "0123456789abcdefghij", "Capabilities": [{"Actions": ["read:job", "write:job"]}]}
        ]))
        .unwrap()
    }

    fn ask(authorization: Option<&str>, method: &Method, path: &str) -> Result<(), (u16, String)> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        config()
            .check(&headers, method, path)
            .map_err(|e| (e.http_status(), e.details.get("reason").cloned().unwrap_or_default()))
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    const JOBS: &str = "/api/v1/orchestrator/jobs";
    const NODES: &str = "/api/v1/orchestrator/nodes";

    #[test]
    fn without_users_everything_is_allowed() {
        let open = AuthConfig::default();
        assert_eq!(open.check(&HeaderMap::new(), &Method::DELETE, "/api/v1/orchestrator/jobs/j"), Ok(()));
    }

    #[test]
    fn capabilities_decide() {
        let key = Some("Bearer 0123456789abcdefghij");
        assert_eq!(ask(key, &Method::GET, JOBS), Ok(()));
        assert_eq!(ask(key, &Method::PUT, &format!("{JOBS}/j-1/rerun")), Ok(()));
        let refused = "API key ending in ...fghij does not have the required capability 'read:node'";
        assert_eq!(ask(key, &Method::GET, NODES), Err((403, refused.to_owned())));
        let reader = basic("READER:pass:with:colons");
        assert_eq!(ask(Some(&reader), &Method::GET, NODES), Ok(()));
        let refused = "user 'Reader' does not have the required capability 'write:job'";
        assert_eq!(ask(Some(&reader), &Method::POST, JOBS), Err((403, refused.to_owned())));
        let admin = basic("admin:long enough 1");
        assert_eq!(ask(Some(&admin), &Method::GET, "/anything"), Ok(()));
        assert_eq!(ask(None, &Method::GET, "/api/v1/agent/alive"), Ok(()));
    }

    #[test]
    fn the_reasons_of_refusals() {
        let jwt = format!("Bearer {}.{}.x", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode("{}"));
        for (header, reason) in [
            (None, "Missing Authorization header"),
            (Some("Basic !"), "failed to decode basic auth credentials"),
            (Some(basic("admin").as_str()), "invalid basic auth credentials format"),
            (Some(basic("admin:wrong").as_str()), "invalid basic auth credentials"),
            (Some(basic("nobody:long enough 1").as_str()), "invalid basic auth credentials"),
            (Some("Bearer 0123456789abcdefghiX"), "invalid API key"),
            (Some("Bearer a.b.c"), "invalid API key"),
            (Some(jwt.as_str()), "OAuth2 authentication not configured on server"),
            (Some("bearer 0123456789abcdefghij"), "unsupported authentication method"),
            (Some(""), "unsupported authentication method"),
        ] {
            assert_eq!(ask(header, &Method::GET, JOBS), Err((401, reason.to_owned())), "{header:?}");
        }
    }
}
