//! Keys of compute nodes, as client and server speak of them.

use bacalhau_model::{Error, Time};
use serde::{Deserialize, Serialize};

/// The right of a node to join with its own key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeCredential {
    /// ID of the node.
    pub name: String,
    /// The public half of its nkey.
    pub public_key: String,
    /// When it was made.
    pub create_time: Time,
}

/// Who may join. Implemented by what runs the NATS server; calls may wait for the disk.
pub trait CredentialBook: Send + Sync {
    /// All, by name.
    fn list(&self) -> Vec<NodeCredential>;

    /// Lets a node join with a key. When this returns, that is on disk.
    ///
    /// # Errors
    /// A name that is no node ID or has credentials already, a damaged key, trouble with the disk.
    fn create(&self, name: &str, public_key: &str) -> Result<NodeCredential, Error>;

    /// Takes the right away; the node's connection ends.
    ///
    /// # Errors
    /// A name without credentials, trouble with the disk.
    fn revoke(&self, name: &str) -> Result<(), Error>;
}
