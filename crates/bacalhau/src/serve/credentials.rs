//! The keys with which compute nodes may join: on disk, and in the NATS server.

use bacalhau_api::credentials::{CredentialBook, NodeCredential};
use bacalhau_config::atomic;
use bacalhau_model::error::code;
use bacalhau_model::{Error, Time};
use bacalhau_nats_server::{NkeyUser, Permissions, Rules, Server};
use bacalhau_wire::credentials::NodeCredentials;
use bacalhau_wire::subjects;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nodes with keys at most.
const MOST: usize = 10_000;

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    credentials: Vec<NodeCredential>,
}

/// The key of each node that has one, for whoever has to know whether a name is proved. Clones share the list.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<RwLock<HashMap<String, String>>>);

impl Keys {
    pub(super) fn set(&self, credentials: &[NodeCredential]) {
        let list = credentials.iter().map(|known| (known.name.clone(), known.public_key.clone()));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list.collect();
    }

    /// What a connection that was let in as `user` (a public key; empty for the shared token or nothing) is as node `name`.
    pub(super) fn judge(&self, name: &str, user: &str) -> Claim {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match keys.get(name) {
            Some(key) if key == user => Claim::Proved,
            _ if user.is_empty() => Claim::Possible,
            _ => Claim::False,
        }
    }
}

/// Whether a connection is that of the node whose name it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It came with the key of that node.
    Proved,
    /// It came without a key, as every node may that does not use its own.
    Possible,
    /// It came with the key of another node.
    False,
}

/// What was in the file at the start.
pub(super) struct Stored {
    path: PathBuf,
    keys: Keys,
    /// There is a file: nodes must show something, also when nobody has a key any more.
    pub(super) closed: bool,
    credentials: Vec<NodeCredential>,
}

impl Stored {
    /// Reads the file; nobody has a key when there is none.
    ///
    /// # Errors
    /// A file that cannot be read: to start without it would let in who was kept out, or keep out who was let in.
    pub(super) fn read(path: PathBuf) -> Result<Stored, Error> {
        let unreadable = |e: &dyn std::fmt::Display| {
            let text = format!("the keys of nodes in {} cannot be read: {e}", path.display());
            Error::new(code::CONFIGURATION_ERROR, text)
                .hint("restore the file, or remove it and make the nodes' credentials anew")
        };
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => Some(serde_json::from_str::<File>(&text).map_err(|e| unreadable(&e))?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(unreadable(&e)),
        };
        let closed = found.is_some();
        let credentials = found.unwrap_or_default().credentials;
        let keys = Keys::default();
        keys.set(&credentials);
        Ok(Stored { path, keys, closed, credentials })
    }

    /// The keys, now and later.
    pub(super) fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// For the options of the server.
    pub(super) fn users(&self) -> Vec<NkeyUser> {
        users(&self.credentials)
    }

    /// Goes on with a server that has these users.
    pub(super) fn keep(self, server: Arc<Server>) -> Book {
        Book { path: self.path, keys: self.keys, server, credentials: Mutex::new(self.credentials) }
    }
}

/// A node may speak for itself only.
fn users(credentials: &[NodeCredential]) -> Vec<NkeyUser> {
    let user = |credential: &NodeCredential| NkeyUser {
        permissions: Some(Permissions {
            publish: Rules::only(NodeCredentials::publish(&credential.name)),
            subscribe: Rules::only(NodeCredentials::subscribe(&credential.name)),
            allow_responses: None,
        }),
        ..NkeyUser::new(&credential.public_key)
    };
    credentials.iter().map(user).collect()
}

/// The keys of a running server.
pub(super) struct Book {
    path: PathBuf,
    keys: Keys,
    server: Arc<Server>,
    credentials: Mutex<Vec<NodeCredential>>,
}

impl Book {
    /// Puts a changed list into the server and on disk; in both or, after an error, in neither.
    fn change(&self, list: &mut Vec<NodeCredential>, changed: Vec<NodeCredential>) -> Result<(), Error> {
        // Before the server lets a new one in.
        self.keys.set(&changed);
        let result = self.store(list, changed);
        if result.is_err() {
            self.keys.set(list);
        }
        result
    }

    fn store(&self, list: &mut Vec<NodeCredential>, changed: Vec<NodeCredential>) -> Result<(), Error> {
        self.server.set_nkeys(users(&changed)).map_err(|e| Error::new(code::BAD_REQUEST, e.to_string()))?;
        let file = File { credentials: changed };
        let written = serde_json::to_string_pretty(&file)
            .map_err(std::io::Error::from)
            .and_then(|text| atomic::write(&self.path, &text));
        if let Err(e) = written {
            let kept = self.server.set_nkeys(users(list));
            let also = kept.err().map(|e| format!("; and the former keys cannot be restored: {e}"));
            let also = also.unwrap_or_default();
            return Err(Error::new(
                code::INTERNAL_ERROR,
                format!("{} cannot be written: {e}{also}", self.path.display()),
            ));
        }
        *list = file.credentials;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<NodeCredential>> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CredentialBook for Book {
    fn list(&self) -> Vec<NodeCredential> {
        self.lock().clone()
    }

    fn create(&self, name: &str, public_key: &str) -> Result<NodeCredential, Error> {
        subjects::check_node_id(name).map_err(|why| Error::new(code::BAD_REQUEST, why))?;
        let mut list = self.lock();
        if list.len() >= MOST {
            return Err(Error::new(
                code::RESOURCE_EXHAUSTED,
                format!("{MOST} nodes have credentials already"),
            ));
        }
        if list.iter().any(|known| known.name == name) {
            return Err(Error::new(code::RESOURCE_IN_USE, format!("node {name} has credentials already"))
                .hint(format!("revoke them first: bacalhau node credentials revoke {name}")));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let made = NodeCredential {
            name: name.to_owned(),
            public_key: public_key.to_owned(),
            create_time: Time::from_unix_nanos(now),
        };
        let mut changed = list.clone();
        changed.push(made.clone());
        changed.sort_by(|a, b| a.name.cmp(&b.name));
        self.change(&mut list, changed)?;
        Ok(made)
    }

    fn revoke(&self, name: &str) -> Result<(), Error> {
        let mut list = self.lock();
        let changed: Vec<NodeCredential> = list.iter().filter(|known| known.name != name).cloned().collect();
        if changed.len() == list.len() {
            return Err(Error::new(code::NOT_FOUND, format!("node {name} has no credentials")));
        }
        self.change(&mut list, changed)
    }
}
