//! Who may connect and what they may do, as the embedder writes it down. The names are those of the NATS server's
//! configuration.

use std::fmt;
use std::time::Duration;

/// A user with name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The password as the client sends it, or its bcrypt hash (`$2a$`, `$2b$` or `$2y$`).
    pub password: String,
    /// What the user may do; `None`: [`Options::default_permissions`](crate::Options::default_permissions).
    pub permissions: Option<Permissions>,
    /// Kinds of connections that it may come by, as the NATS server names them (`STANDARD`, `WEBSOCKET`); empty: by all.
    pub connection_types: Vec<String>,
}

impl User {
    /// A user without restrictions.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> User {
        User { name: name.into(), password: password.into(), permissions: None, connection_types: Vec::new() }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("password", &"***")
            .field("permissions", &self.permissions)
            .field("connection_types", &self.connection_types)
            .finish()
    }
}

/// A user who proves to hold the key of an nkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NkeyUser {
    /// The public key: `U` and 55 more characters.
    pub public_key: String,
    /// What the user may do; `None`: the default permissions.
    pub permissions: Option<Permissions>,
    /// As those of [`User`].
    pub connection_types: Vec<String>,
}

impl NkeyUser {
    /// A user without restrictions.
    pub fn new(public_key: impl Into<String>) -> NkeyUser {
        NkeyUser { public_key: public_key.into(), permissions: None, connection_types: Vec::new() }
    }
}

/// A group of users with a subject space of its own: nothing published in one account is seen in another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The account's name; `$G` is the account of users outside of accounts and of local clients.
    pub name: String,
    /// Its users with passwords.
    pub users: Vec<User>,
    /// Its users with nkeys.
    pub nkeys: Vec<NkeyUser>,
}

/// What a user may publish and subscribe to. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects of messages that it sends.
    pub publish: Rules,
    /// Subjects that it listens on. An entry `subject queue` is about subscriptions in queue groups whose name matches.
    pub subscribe: Rules,
    /// Lets it answer requests that it received, on subjects it could not publish to otherwise.
    pub allow_responses: Option<AllowResponses>,
}

/// Lists of subjects, with wildcards. What is denied is denied although it may be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `None`: everything; otherwise only these.
    pub allow: Option<Vec<String>>,
    /// Never these.
    pub deny: Vec<String>,
}

impl Rules {
    /// Only these subjects.
    pub fn only<S: Into<String>>(subjects: impl IntoIterator<Item = S>) -> Rules {
        Rules { allow: Some(subjects.into_iter().map(Into::into).collect()), deny: Vec::new() }
    }
}

/// How long and how often a received request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowResponses {
    /// Messages per request; 0 is no limit. Default 1.
    pub max: u64,
    /// Time after the request; zero is no limit. Default 2 minutes.
    pub expires: Duration,
}

impl Default for AllowResponses {
    fn default() -> Self {
        AllowResponses { max: 1, expires: Duration::from_secs(120) }
    }
}
