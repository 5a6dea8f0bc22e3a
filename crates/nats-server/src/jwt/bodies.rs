//! What the documents of operators, accounts and users say. A number that is absent from the limits of a user or an
//! account is zero, as for other NATS servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::{Common, is_default};
use super::terms::{NO_LIMIT, Permissions, Terms};

/// What an operator says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// Keys that sign for accounts as well.
    #[serde(skip_serializing_if = "is_default")]
    pub signing_keys: Vec<String>,
    /// Where tools push accounts; not used here.
    #[serde(skip_serializing_if = "is_default")]
    pub account_server_url: String,
    /// Where tools find servers; not used here.
    #[serde(skip_serializing_if = "is_default")]
    pub operator_service_urls: Vec<String>,
    /// The account of the system.
    #[serde(skip_serializing_if = "is_default")]
    pub system_account: String,
    /// The least version of a server that may trust it.
    #[serde(skip_serializing_if = "is_default")]
    pub assert_server_version: String,
    /// Accounts and users must be signed with signing keys, never with the key that names the operator or account.
    #[serde(skip_serializing_if = "is_default")]
    pub strict_signing_key_usage: bool,
    /// Tags, type, version.
    #[serde(flatten)]
    pub common: Common,
}

/// What is said about an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Its limits.
    pub limits: AccountLimits,
    /// Keys that sign for users as well.
    #[serde(skip_serializing_if = "is_default")]
    pub signing_keys: Vec<SigningKey>,
    /// Users (or `*`) whose documents signed before this time, in seconds since 1970, are void.
    #[serde(skip_serializing_if = "is_default")]
    pub revocations: BTreeMap<String, i64>,
    /// For users without permissions of their own.
    pub default_permissions: Permissions,
    /// Subjects of other accounts; not carried out here.
    #[serde(skip_serializing_if = "is_default")]
    pub imports: Vec<Value>,
    /// Subjects for other accounts; not carried out here.
    #[serde(skip_serializing_if = "is_default")]
    pub exports: Vec<Value>,
    /// Subjects that are renamed; not carried out here.
    #[serde(skip_serializing_if = "is_default")]
    pub mappings: BTreeMap<String, Value>,
    /// A service that decides about users; not possible here.
    #[serde(skip_serializing_if = "is_default")]
    pub authorization: BTreeMap<String, Value>,
    /// Tags, type, version.
    #[serde(flatten)]
    pub common: Common,
}

/// What an account may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountLimits {
    /// Subscriptions of one connection.
    #[serde(default)]
    pub subs: i64,
    /// Bytes; not counted here.
    #[serde(default)]
    pub data: i64,
    /// Bytes of one message.
    #[serde(default)]
    pub payload: i64,
    /// Imports.
    #[serde(default)]
    pub imports: i64,
    /// Exports.
    #[serde(default)]
    pub exports: i64,
    /// May exports have wildcards?
    #[serde(default)]
    pub wildcards: bool,
    /// Bearer tokens are refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disallow_bearer: bool,
    /// Connections at one time.
    #[serde(default)]
    pub conn: i64,
    /// Leaf connections at one time.
    #[serde(default)]
    pub leaf: i64,
}

impl Default for AccountLimits {
    /// None.
    fn default() -> Self {
        Self {
            subs: NO_LIMIT,
            data: NO_LIMIT,
            payload: NO_LIMIT,
            imports: NO_LIMIT,
            exports: NO_LIMIT,
            wildcards: true,
            disallow_bearer: false,
            conn: NO_LIMIT,
            leaf: NO_LIMIT,
        }
    }
}

/// A key that signs for users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SigningKey {
    /// Its users have what their own documents say.
    Plain(String),
    /// Its users have what is said here.
    Scoped(Box<Scope>),
}

impl SigningKey {
    /// The public key.
    pub fn key(&self) -> &str {
        match self {
            SigningKey::Plain(key) => key,
            SigningKey::Scoped(scope) => &scope.key,
        }
    }
}

/// What all users of a signing key may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// `user_scope`.
    pub kind: String,
    /// The public key.
    pub key: String,
    /// A name for people.
    #[serde(default)]
    pub role: String,
    /// What they may do; subjects may have variables like `{{name()}}`.
    #[serde(default)]
    pub template: Terms,
}

impl Scope {
    /// The kind of the only scopes that there are.
    pub const KIND: &'static str = "user_scope";

    /// A scope for users.
    pub fn new(key: &str, role: &str, template: Terms) -> Scope {
        Scope { kind: Scope::KIND.to_owned(), key: key.to_owned(), role: role.to_owned(), template }
    }
}

/// What is said about a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// What it may do.
    #[serde(flatten)]
    pub terms: Terms,
    /// The account, if one of its signing keys signed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub issuer_account: String,
    /// Tags, type, version.
    #[serde(flatten)]
    pub common: Common,
}
