//! Docker's `config.json`, as far as it is about credentials.

use super::Login;
use crate::error;
use bacalhau_model::Error;
use base64::Engine as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use tokio::io::AsyncReadExt;

/// The key of Docker Hub.
pub(super) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Bytes of the file at most.
const LARGEST: u64 = 1 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerConfig {
    /// Reads the file; `None` when there is none.
    pub(super) async fn read(path: &Path) -> Result<Option<DockerConfig>, Error> {
        let explain = |reason: String| {
            error::failed(format!("Docker's configuration {} cannot be read: {reason}", path.display()))
                .hint("Correct the file, or log in again with `docker login`")
        };
        let file = match tokio::fs::File::open(path).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| explain(e.to_string()))?,
        };
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text).await.map_err(|e| explain(e.to_string()))?;
        if text.len() as u64 > LARGEST {
            return Err(explain(format!("it is larger than {LARGEST} bytes")));
        }
        // The position says enough; the parser's own words could quote a secret.
        let config = serde_json::from_slice(&text).map_err(|e| {
            explain(format!("line {}, column {} is not what Docker writes", e.line(), e.column()))
        })?;
        Ok(Some(config))
    }

    /// The helper program in charge of a server.
    pub(super) fn helper(&self, server: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| same_server(key, server)).map(|(_, name)| name);
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What the file itself says.
    pub(super) fn login(&self, server: &str) -> Option<Login> {
        let exact = self.auths.get(server);
        let entry = exact.or_else(|| {
            self.auths.iter().find(|(key, _)| same_server(key, server)).map(|(_, entry)| entry)
        })?;
        if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Some(Login::Identity(token.clone()));
        }
        if let Some(token) = entry.registrytoken.as_ref().filter(|token| !token.is_empty()) {
            return Some(Login::Registry(token.clone()));
        }
        if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (username, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0').to_owned();
            return Some(Login::Basic { username: username.to_owned(), password });
        }
        let (username, password) = entry.username.clone().zip(entry.password.clone())?;
        Some(Login::Basic { username, password })
    }
}

/// Keys may be a host or a URL.
fn same_server(key: &str, server: &str) -> bool {
    let plain = |text: &str| -> String {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        text.split('/').next().unwrap_or_default().to_ascii_lowercase()
    };
    let (key, server) = (plain(key), plain(server));
    let hub = |name: &str| matches!(name, "docker.io" | "index.docker.io");
    key == server || (hub(&key) && hub(&server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn keys_in_all_spellings() {
        let config = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpw"},
                "https://old.example/v1/": {"auth": "YTpiOmM="},
                "plain.example:5000": {"username": "x", "password": "y"},
                "token.example": {"auth": "dTpw", "identitytoken": "t"},
                "direct.example": {"auth": "", "registrytoken": "r"},
                "empty.example": {}}}"#,
        );
        let basic = |username: &str, password: &str| {
            Some(Login::Basic { username: username.into(), password: password.into() })
        };
        assert!(config.login(DOCKER_HUB) == basic("u", "p"));
        assert!(config.login("old.example") == basic("a", "b:c"));
        assert!(config.login("plain.example:5000") == basic("x", "y"));
        assert!(config.login("token.example") == Some(Login::Identity("t".into())));
        assert!(config.login("direct.example") == Some(Login::Registry("r".into())));
        assert!(config.login("empty.example").is_none() && config.login("other.example").is_none());
        assert!(config.login("plain.example").is_none());
    }

    #[test]
    fn helpers_in_charge() {
        let config = config(r#"{"credsStore": "store", "credHelpers": {"gcr.io": "gcloud"}}"#);
        assert_eq!(config.helper("gcr.io"), Some("gcloud"));
        assert_eq!(config.helper("other.io"), Some("store"));
    }
}
