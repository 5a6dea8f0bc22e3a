//! Credentials for registries, from where Docker's users have them.
//!
//! Read again for every use, so that a new login counts at once. Secrets are never logged, never part of an error and
//! never on a command line.

mod docker_config;
mod helper;

use crate::reference;
use bacalhau_model::Error;
use oci_client::Reference;
use std::fmt;
use std::path::{Path, PathBuf};

/// How a registry is asked. Shows no secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Login {
    /// Without credentials.
    #[default]
    Anonymous,
    /// With a name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// With a token that is exchanged for others (`identitytoken`).
    Identity(String),
    /// With a token that the registry itself takes (`registrytoken`).
    Registry(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Anonymous => "Anonymous",
            Login::Basic { .. } => "Basic(..)",
            Login::Identity(_) => "Identity(..)",
            Login::Registry(_) => "Registry(..)",
        })
    }
}

/// Where credentials are.
#[derive(Clone, Default)]
pub struct Credentials {
    docker_config: Option<PathBuf>,
    docker_hub: Option<(String, String)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("docker_config", &self.docker_config).finish_non_exhaustive()
    }
}

impl Credentials {
    /// None at all.
    pub fn none() -> Credentials {
        Credentials::default()
    }

    /// From the environment: Docker's `config.json` in `DOCKER_CONFIG` or `~/.docker`, and `DOCKER_USERNAME` with
    /// `DOCKER_PASSWORD` for Docker Hub.
    pub fn from_environment() -> Credentials {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")));
        let docker_hub = variable("DOCKER_USERNAME").zip(variable("DOCKER_PASSWORD"));
        Credentials { docker_config: folder.map(|folder| folder.join("config.json")), docker_hub }
    }

    /// From a `config.json` of Docker.
    pub fn from_docker_config(path: impl Into<PathBuf>) -> Credentials {
        Credentials { docker_config: Some(path.into()), docker_hub: None }
    }

    /// The same with a name and a password for Docker Hub, which win over what the file says.
    #[must_use]
    pub fn with_docker_hub(mut self, username: &str, password: &str) -> Credentials {
        self.docker_hub = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// What Docker's configuration calls the registry of an image.
    pub fn server(image: &Reference) -> &str {
        if reference::is_docker_hub(image) { docker_config::DOCKER_HUB } else { reference::host(image) }
    }

    /// What to use for an image.
    ///
    /// # Errors
    /// The file or a credential helper is there and cannot be used.
    pub async fn login(&self, image: &Reference) -> Result<Login, Error> {
        // Bacalhau 1.9 sends them to any registry whose name has few slashes; they are Docker Hub's.
        if let Some((username, password)) =
            self.docker_hub.as_ref().filter(|_| reference::is_docker_hub(image))
        {
            return Ok(Login::Basic { username: username.clone(), password: password.clone() });
        }
        let Some(path) = &self.docker_config else { return Ok(Login::Anonymous) };
        let Some(config) = docker_config::DockerConfig::read(path).await? else {
            return Ok(Login::Anonymous);
        };
        let server = Credentials::server(image);
        if let Some(helper) = config.helper(server)
            && let Some(login) = helper::get(helper, server).await?
        {
            return Ok(login);
        }
        Ok(config.login(server).unwrap_or_default())
    }
}
