//! Configured users, checked when the server starts.

use super::capability::Wanted;
use bacalhau_model::error::code;
use bacalhau_model::{Error, lenient};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use subtle::ConstantTimeEq;

const NAME_LENGTH: RangeInclusive<usize> = 1..=100;
const PASSWORD_LENGTH: RangeInclusive<usize> = 10..=255;
const KEY_LENGTH: RangeInclusive<usize> = 20..=255;

/// Who may use the API. The default is everybody.
#[derive(Clone, Default)]
pub struct AuthConfig {
    accounts: Arc<[Account]>,
}

/// One entry of `API.Auth.Users`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct User {
    /// Name for messages; may be empty.
    pub alias: String,
    /// Name for logging in; goes with `password`.
    pub username: String,
    /// In plain text.
    pub password: String,
    /// Instead of name and password.
    #[serde(rename = "APIKey")]
    pub api_key: String,
    /// What this user may do.
    pub capabilities: Vec<Capability>,
}

/// A list of actions such as `read:job`, `write:*` or `*`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Capability {
    /// The actions.
    pub actions: Vec<String>,
}

pub(super) struct Account {
    /// For messages: `user 'x'` or the end of the key.
    pub(super) shown: String,
    secret: Secret,
    actions: Vec<String>,
}

/// Digests, so that comparisons take the same time whatever the length, and memory holds no secret.
enum Secret {
    Password { name: String, digest: [u8; 32] },
    Key([u8; 32]),
}

impl AuthConfig {
    /// From the configuration's list of users.
    ///
    /// # Errors
    /// All that is wrong with them, without the secrets.
    pub fn new(users: &[User]) -> Result<AuthConfig, Error> {
        let (mut problems, mut names, mut keys) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (number, user) in (1..).zip(users) {
            let mut wrong = user.problems();
            for name in [&user.alias, &user.username] {
                if !name.is_empty() && !names.insert(name.to_lowercase()) {
                    wrong.push(format!("the name '{name}' is used twice"));
                }
            }
            if !user.api_key.is_empty() && !keys.insert(user.api_key.as_str()) {
                wrong.push("its API key is used twice".to_owned());
            }
            problems.extend(wrong.into_iter().map(|why| format!("API.Auth.Users: user {number}: {why}")));
        }
        if problems.is_empty() {
            return Ok(AuthConfig { accounts: users.iter().map(Account::of).collect() });
        }
        Err(Error::new(code::CONFIGURATION_ERROR, problems.join("\n")).component("APIServer"))
    }

    /// From the configuration's JSON: an array of users.
    ///
    /// # Errors
    /// As [`AuthConfig::new`], and when it has another shape.
    pub fn from_json(users: Value) -> Result<AuthConfig, Error> {
        let users: Vec<User> = lenient::from_value(users).map_err(|e| {
            Error::new(code::CONFIGURATION_ERROR, format!("API.Auth.Users: {e}")).component("APIServer")
        })?;
        AuthConfig::new(&users)
    }

    /// Everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.accounts.is_empty()
    }

    /// `name` in lower case. Looks at every account, found or not, so that time tells nothing.
    pub(super) fn by_name_and_password(&self, name: &str, password: &[u8]) -> Option<&Account> {
        let given = sha256(password);
        self.accounts.iter().fold(None, |found, account| match &account.secret {
            Secret::Password { name: own, digest } => {
                let same = bool::from(digest.ct_eq(&given)) & (own == name);
                if same { Some(account) } else { found }
            }
            Secret::Key(_) => found,
        })
    }

    pub(super) fn by_key(&self, key: &[u8]) -> Option<&Account> {
        let given = sha256(key);
        self.accounts.iter().fold(None, |found, account| match &account.secret {
            Secret::Key(digest) if bool::from(digest.ct_eq(&given)) => Some(account),
            _ => found,
        })
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthConfig({} users)", self.accounts.len())
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("alias", &self.alias)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl User {
    fn problems(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let has_login = !self.username.is_empty() || !self.password.is_empty();
        match (has_login, self.api_key.is_empty()) {
            (true, false) => wrong.push("has both a password and an API key, choose one".to_owned()),
            (false, true) => wrong.push("has neither a user name with a password nor an API key".to_owned()),
            (true, true) => {
                let plain = self.username.chars().all(char::is_alphanumeric);
                if !plain || !NAME_LENGTH.contains(&self.username.chars().count()) {
                    wrong.push("the user name must be 1 to 100 letters and digits".to_owned());
                }
                if ["$2a$", "$2b$", "$2y$"].iter().any(|mark| self.password.starts_with(mark)) {
                    wrong.push("passwords hashed with bcrypt are not supported, use an API key".to_owned());
                } else if !PASSWORD_LENGTH.contains(&self.password.chars().count()) {
                    wrong.push("the password must have 10 to 255 characters".to_owned());
                }
            }
            (false, false) if !KEY_LENGTH.contains(&self.api_key.chars().count()) => {
                wrong.push("the API key must have 20 to 255 characters".to_owned());
            }
            (false, false) => {}
        }
        if self.capabilities.iter().all(|c| c.actions.is_empty()) {
            wrong.push("has no capabilities, give at least one action such as read:job".to_owned());
        }
        wrong
    }
}

impl Account {
    fn of(user: &User) -> Account {
        let end: Vec<char> = user.api_key.chars().rev().take(5).collect();
        let shown = match (user.alias.as_str(), user.username.as_str()) {
            ("", "") => format!("API key ending in ...{}", end.iter().rev().collect::<String>()),
            ("", name) | (name, _) => format!("user '{name}'"),
        };
        let secret = match user.api_key.is_empty() {
            true => Secret::Password {
                name: user.username.to_lowercase(),
                digest: sha256(user.password.as_bytes()),
            },
            false => Secret::Key(sha256(user.api_key.as_bytes())),
        };
        let actions = user.capabilities.iter().flat_map(|c| c.actions.iter().cloned()).collect();
        Account { shown, secret, actions }
    }

    pub(super) fn may(&self, wanted: &Wanted) -> bool {
        self.actions.iter().any(|action| wanted.is_granted_by(action))
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let users = json!([
            {"Username": "a b", "Password": "short", "Capabilities": [{"Actions": ["*"]}]},
            {"Username": "same", "Password": "hush-hush-hush", "APIKey": "hush", "Capabilities": [{"Actions": ["*"]}]},
            {"Username": "SAME", "Password": "$2b$10$abcdefghijklmnopqrstuv", "Capabilities": []},
            {"APIKey": "hush"},
            {}
        ]);
        let error = AuthConfig::from_json(users).unwrap_err();
        assert_eq!(
            error.message.lines().collect::<Vec<_>>(),
            [
                "API.Auth.Users: user 1: the user name must be 1 to 100 letters and digits",
                "API.Auth.Users: user 1: the password must have 10 to 255 characters",
                "API.Auth.Users: user 2: has both a password and an API key, choose one",
                "API.Auth.Users: user 3: passwords hashed with bcrypt are not supported, use an API key",
                "API.Auth.Users: user 3: has no capabilities, give at least one action such as read:job",
                "API.Auth.Users: user 3: the name 'SAME' is used twice",
                "API.Auth.Users: user 4: the API key must have 20 to 255 characters",
                "API.Auth.Users: user 4: has no capabilities, give at least one action such as read:job",
                "API.Auth.Users: user 4: its API key is used twice",
                "API.Auth.Users: user 5: has neither a user name with a password nor an API key",
                "API.Auth.Users: user 5: has no capabilities, give at least one action such as read:job",
            ]
        );
        assert!(AuthConfig::from_json(json!({"a": 1})).unwrap_err().message.starts_with("API.Auth.Users: "));
        let user = User { password: "hush".into(), api_key: "hush".into(), ..User::default() };
        assert!(!format!("{user:?}").contains("hush"));
    }
}
