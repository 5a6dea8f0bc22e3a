//! The file with which a compute node proves who it is: its ID and the seed of its nkey.
//!
//! Two blocks in the form that NATS tools use for seeds and JWTs. What a node with such a file may publish and subscribe
//! to is bound to its ID; see [`NodeCredentials::publish`] and [`NodeCredentials::subscribe`].

use crate::subjects;
use bacalhau_nats_server::jwt::{KeyPair, Role};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

const NODE: &str = "BACALHAU NODE ID";
const SEED: &str = "USER NKEY SEED";

/// A node's ID and key. Clones share the key; it is never printed.
#[derive(Clone)]
pub struct NodeCredentials {
    node_id: String,
    key: Arc<KeyPair>,
}

impl NodeCredentials {
    /// A new key for a node.
    ///
    /// # Errors
    /// An ID that cannot be one, in words.
    pub fn generate(node_id: &str) -> Result<NodeCredentials, String> {
        subjects::check_node_id(node_id)?;
        let key = KeyPair::generate(Role::User).map_err(|e| e.to_string())?;
        Ok(NodeCredentials { node_id: node_id.to_owned(), key: Arc::new(key) })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is missing or damaged; the text itself is not repeated.
    pub fn parse(text: &str) -> Result<NodeCredentials, String> {
        let node_id = block(text, NODE).ok_or_else(|| format!("it has no block {NODE:?}"))?;
        subjects::check_node_id(node_id)?;
        let seed = block(text, SEED).ok_or_else(|| format!("it has no block {SEED:?}"))?;
        let key = KeyPair::from_seed(seed).ok().filter(|key| key.role() == Role::User);
        let key = key.ok_or_else(|| "its seed is damaged or not that of a user".to_owned())?;
        Ok(NodeCredentials { node_id: node_id.to_owned(), key: Arc::new(key) })
    }

    /// The text of a file. It is a secret.
    pub fn to_text(&self) -> String {
        let block = |name: &str, content: &str| {
            format!("-----BEGIN {name}-----\n{content}\n------END {name}------\n\n")
        };
        format!(
            "{}# Who has this seed is this node for the orchestrator: keep the file secret.\n{}",
            block(NODE, &self.node_id),
            block(SEED, &self.key.seed())
        )
    }

    /// The node.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The public half of the key, 56 characters.
    pub fn public_key(&self) -> &str {
        self.key.public_key()
    }

    pub(crate) fn sign(&self, nonce: &[u8]) -> Vec<u8> {
        self.key.sign(nonce)
    }

    /// Subjects that a node may publish to: all below its own `out`.
    pub fn publish(node_id: &str) -> Vec<String> {
        vec![subjects::out(node_id)]
    }

    /// Subjects that a node may subscribe to: what is sent to it, requests for logs, its own inbox.
    pub fn subscribe(node_id: &str) -> Vec<String> {
        vec![subjects::messages(node_id), subjects::node_requests(node_id), format!("_INBOX.{node_id}.>")]
    }
}

impl fmt::Debug for NodeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCredentials").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl PartialEq for NodeCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.node_id == other.node_id && self.public_key() == other.public_key()
    }
}

impl Eq for NodeCredentials {}

impl Hash for NodeCredentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.public_key().hash(state);
    }
}

/// The line between the marks of a block. The number of dashes is not looked at, as NATS tools do not.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_mark = |line: &str, word: &str| {
        let inner = line.trim().trim_matches('-');
        line.trim().starts_with("---") && inner.strip_prefix(word).is_some_and(|rest| rest.trim() == name)
    };
    let mut lines = text.lines().skip_while(|line| !is_mark(line, "BEGIN"));
    lines.next()?;
    let content = lines.next()?.trim();
    (!content.is_empty() && is_mark(lines.next()?, "END")).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_read_back_and_damage_is_named() {
        let made = NodeCredentials::generate("node-1").unwrap();
        let text = made.to_text();
        let read = NodeCredentials::parse(&text).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.sign(b"nonce"), made.sign(b"nonce"));
        assert!(!format!("{made:?}").contains(&made.key.seed()));
        for (from, to, says) in [
            ("node-1", "node 1", "node ID"),
            ("BEGIN BACALHAU", "BEGIN OTHER", "no block \"BACALHAU NODE ID\""),
            ("END USER", "FIN USER", "no block \"USER NKEY SEED\""),
            ("\nSU", "\nSA", "seed is damaged"),
        ] {
            let error = NodeCredentials::parse(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(&made.key.seed()[2..]));
        }
        assert!(NodeCredentials::generate("a.b").is_err());
    }
}
