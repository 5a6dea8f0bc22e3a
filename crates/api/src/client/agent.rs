//! Questions to the server about itself.

use super::Client;
use super::types::{AgentConfig, AgentNode, Alive, AuthConfig};
use bacalhau_model::{BuildVersion, Error};
use serde_json::Value;

impl Client {
    /// Whether the server answers.
    pub async fn agent_alive(&self) -> Result<Alive, Error> {
        self.get(&["agent", "alive"], &[]).await
    }

    /// The server's build.
    pub async fn agent_version(&self) -> Result<BuildVersion, Error> {
        self.get(&["agent", "version"], &[]).await
    }

    /// The server as a node.
    pub async fn agent_node(&self) -> Result<AgentNode, Error> {
        self.get(&["agent", "node"], &[]).await
    }

    /// The server's effective configuration, secrets masked.
    pub async fn agent_config(&self) -> Result<Value, Error> {
        let answer: AgentConfig = self.get(&["agent", "config"], &[]).await?;
        Ok(answer.config)
    }

    /// The server's single sign-on settings.
    pub async fn agent_auth_config(&self) -> Result<AuthConfig, Error> {
        self.get(&["agent", "authconfig"], &[]).await
    }
}
