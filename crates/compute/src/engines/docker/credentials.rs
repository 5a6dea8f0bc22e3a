//! Credentials of registries, from Docker's own `config.json` and its helper programs.
//!
//! Read anew for every use, so that `docker login` has effect at once. Secrets are neither kept nor logged.

use super::config::{DockerConfig, Login};
use super::reference::Reference;
use base64::Engine as _;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What Docker calls Docker Hub in its configuration.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A configuration larger than this is none.
const MAX_CONFIG: u64 = 1 << 20;

/// Most bytes of a helper's answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Longest time a helper may take.
const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The part of `config.json` that is about credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    auths: HashMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// What a helper program answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Credentials for an image, if there are any. What cannot be read is logged and counts as none.
pub(super) async fn find(config: &DockerConfig, image: &Reference) -> Option<DockerCredentials> {
    if let Some(Login { user, password }) = config.hub_login.as_ref().filter(|_| image.is_hub_style()) {
        return Some(login(HUB_KEY, user.clone(), password.clone()));
    }
    let file = read(config.config_folder.as_deref()?).await?;
    let registry = image.registry();
    let keys = keys(registry);
    let helper = keys.iter().find_map(|key| file.helpers.get(key)).or(Some(&file.store));
    if let Some(helper) = helper.filter(|name| is_helper_name(name)) {
        for key in &keys {
            if let Some(found) = ask_helper(helper, key).await {
                return Some(found);
            }
        }
    }
    from_file(&file, registry)
}

/// How a registry may be called in the configuration, the usual way first.
fn keys(registry: &str) -> Vec<String> {
    if registry == "docker.io" {
        return vec![HUB_KEY.to_owned(), "docker.io".to_owned(), "index.docker.io".to_owned()];
    }
    vec![registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")]
}

async fn read(folder: &Path) -> Option<File> {
    let path = folder.join("config.json");
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the credentials of registries");
            return None;
        }
    };
    let mut text = Vec::new();
    let read = file.take(MAX_CONFIG).read_to_end(&mut text).await;
    let parsed = read.map_err(|e| e.to_string()).and_then(|_| {
        // The position is enough; the text around it may be a secret.
        serde_json::from_slice(&text).map_err(|e| format!("line {}, column {}", e.line(), e.column()))
    });
    parsed
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read the credentials of registries");
        })
        .ok()
}

fn from_file(file: &File, registry: &str) -> Option<DockerCredentials> {
    // Keys may be host names or addresses with a path, as old versions wrote them.
    let wanted = keys(registry);
    let host_of = |key: &str| {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let registry_host = wanted.first().map(|key| host_of(key)).unwrap_or_default();
    let exact = wanted.iter().find_map(|key| file.auths.get_key_value(key));
    let (key, auth) = exact.or_else(|| file.auths.iter().find(|(key, _)| host_of(key) == registry_host))?;
    if !auth.identitytoken.is_empty() || !auth.registrytoken.is_empty() {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        return Some(DockerCredentials {
            serveraddress: Some(key.clone()),
            identitytoken: some(&auth.identitytoken),
            registrytoken: some(&auth.registrytoken),
            ..DockerCredentials::default()
        });
    }
    let (user, password) = match decode(&auth.auth) {
        Some(pair) => pair,
        None => (auth.username.clone(), auth.password.clone()),
    };
    (!user.is_empty()).then(|| login(key, user, password))
}

/// `auth` is `user:password` in base64.
fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn login(server: &str, user: String, password: String) -> DockerCredentials {
    DockerCredentials {
        username: Some(user),
        password: Some(password),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    }
}

/// The name becomes part of a program's name, so it must not lead anywhere else.
fn is_helper_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Runs `docker-credential-<name> get`: the registry on its standard input, JSON on its standard output.
async fn ask_helper(name: &str, registry: &str) -> Option<DockerCredentials> {
    let program = format!("docker-credential-{name}");
    let asked = tokio::time::timeout(HELPER_LIMIT, run_helper(&program, registry)).await;
    let answer = asked.unwrap_or_else(|_| Err(std::io::Error::other("it does not answer")));
    let answer = match answer {
        Ok(answer) => answer?,
        Err(error) => {
            tracing::warn!(program, registry, %error, "a credential helper of Docker failed");
            return None;
        }
    };
    if answer.username == TOKEN_USER {
        return Some(DockerCredentials {
            serveraddress: Some(registry.to_owned()),
            identitytoken: Some(answer.secret),
            ..DockerCredentials::default()
        });
    }
    (!answer.username.is_empty()).then(|| login(registry, answer.username, answer.secret))
}

/// `None` when the helper says that it has none.
async fn run_helper(program: &str, registry: &str) -> std::io::Result<Option<HelperAnswer>> {
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input answers all the same.
        let _ = input.write_all(registry.as_bytes()).await;
    }
    let mut text = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_ANSWER).read_to_end(&mut text).await?;
    }
    if !child.wait().await?.success() {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(|_| std::io::Error::other("its answer cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> DockerConfig {
        DockerConfig { config_folder: Some(folder.to_path_buf()), ..DockerConfig::default() }
    }

    #[tokio::test]
    async fn from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let image = |text: &str| Reference::parse(text).unwrap();
        assert_eq!(find(&config, &image("x")).await, None);

        let auth = base64::engine::general_purpose::STANDARD.encode("me:pa:ss");
        let text = format!(
            r#"{{"auths": {{"localhost:5000": {{"auth": "{auth}"}}, "{HUB_KEY}": {{"username": "hub", "password": "p"}},
                "https://old.example.com/v1/": {{"identitytoken": "t"}}}}, "other": 1}}"#
        );
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let found = find(&config, &image("localhost:5000/a")).await.unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("pa:ss")));
        assert_eq!(find(&config, &image("me/x")).await.unwrap().username.as_deref(), Some("hub"));
        let old = find(&config, &image("old.example.com/x")).await.unwrap();
        assert_eq!(old.identitytoken.as_deref(), Some("t"));
        assert_eq!(find(&config, &image("localhost:5001/a")).await, None);

        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert_eq!(find(&config, &image("x")).await, None);
    }

    #[tokio::test]
    async fn the_environments_login_is_for_docker_hub_only() {
        let login = Login { user: "u".into(), password: "secret".into() };
        assert!(!format!("{login:?}").contains("secret"));
        let config = DockerConfig { hub_login: Some(login), ..DockerConfig::default() };
        let image = |text: &str| Reference::parse(text).unwrap();
        assert_eq!(find(&config, &image("a/b")).await.unwrap().serveraddress.as_deref(), Some(HUB_KEY));
        assert_eq!(find(&config, &image("ghcr.io/a/b")).await, None);
    }

    #[tokio::test]
    async fn a_helper_is_asked_on_its_standard_input() {
        let dir = tempfile::tempdir().unwrap();
        let (text, path) = (dir.path().join("text"), dir.path().join("helper"));
        let script = r#"#!/bin/sh
            read -r registry
            [ "$1 $registry" = "get example.com" ] || { echo "credentials not found"; exit 1; }
            echo '{"ServerURL": "x", "Username": "u", "Secret": "s"}'"#;
        std::fs::write(&text, script).unwrap();
        // By another process: a program that this one has written could not be started while a child that another test has
        // just forked still holds the file.
        let installed = std::process::Command::new("install").arg("-m700").args([&text, &path]).status();
        assert!(installed.unwrap().success());
        let program = path.to_str().unwrap();
        let answer = run_helper(program, "example.com\n").await.unwrap().unwrap();
        assert_eq!((answer.username.as_str(), answer.secret.as_str()), ("u", "s"));
        assert!(run_helper(program, "other\n").await.unwrap().is_none());
        assert!(run_helper("/does/not/exist", "x").await.is_err());
    }

    #[test]
    fn helpers_have_plain_names() {
        assert!(is_helper_name("ecr-login") && is_helper_name("pass"));
        assert!(!is_helper_name("") && !is_helper_name("../x") && !is_helper_name("a b"));
    }
}
