//! What all documents have in common, and how they are read. Names are those of the JSON of version 2.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bodies::{Account, Operator, User};
use super::token::{self, shortened};
use super::{Error, Role, legacy};
use crate::auth::nkey::PublicKey;

/// The claims of an operator, for which it signs itself.
pub type OperatorClaims = Claims<Operator>;
/// The claims of an account, for which its operator signs.
pub type AccountClaims = Claims<Account>;
/// The claims of a user, for which its account signs.
pub type UserClaims = Claims<User>;

/// A document. Times are seconds since 1970 (UTC); 0 is "not set".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims<T> {
    /// Valid until.
    #[serde(skip_serializing_if = "is_default")]
    pub exp: i64,
    /// A digest of the rest; set when signing.
    #[serde(skip_serializing_if = "is_default")]
    pub jti: String,
    /// Signed at; set when signing, unless it is set before.
    #[serde(skip_serializing_if = "is_default")]
    pub iat: i64,
    /// Public key of the signer; set when signing.
    #[serde(skip_serializing_if = "is_default")]
    pub iss: String,
    /// A name for people.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Valid from.
    #[serde(skip_serializing_if = "is_default")]
    pub nbf: i64,
    /// Public key of whom it is about.
    #[serde(skip_serializing_if = "is_default")]
    pub sub: String,
    /// The claims proper.
    pub nats: T,
}

/// The claims proper of one kind of document.
pub trait Body: Default + Serialize + DeserializeOwned + sealed::Sealed {
    /// Whom it is about.
    const SUBJECT: Role;
    /// Who signs for it.
    const ISSUER: Role;
    /// The fields that all kinds have.
    fn common(&mut self) -> &mut Common;
}

mod sealed {
    /// The kinds are those of the NATS ecosystem.
    pub trait Sealed {}
    impl Sealed for super::Operator {}
    impl Sealed for super::Account {}
    impl Sealed for super::User {}
}
/// What every body has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Common {
    /// `key:value` texts.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Set when signing.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
    /// Set when signing.
    #[serde(skip_serializing_if = "is_default")]
    pub version: i64,
}

impl Body for Operator {
    const SUBJECT: Role = Role::Operator;
    const ISSUER: Role = Role::Operator;
    fn common(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Body for Account {
    const SUBJECT: Role = Role::Account;
    const ISSUER: Role = Role::Operator;
    fn common(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Body for User {
    const SUBJECT: Role = Role::User;
    const ISSUER: Role = Role::Account;
    fn common(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl<T: Body> Claims<T> {
    /// Claims about a public key, without limits and restrictions, to be completed and signed.
    pub fn new(subject: &str, name: &str) -> Claims<T> {
        Claims { sub: subject.to_owned(), name: name.to_owned(), ..Claims::default() }
    }

    /// Reads a document and checks its signature. Whether its issuer may be trusted, and whether it is the time for
    /// it, is for the caller to say.
    ///
    /// # Errors
    /// It is too long, damaged, of another kind, or not signed by a key that signs such documents.
    pub fn decode(token: &str) -> Result<Claims<T>, Error> {
        let mut opened = token::open(token)?;
        if opened.kind != T::SUBJECT.to_string() {
            return Err(Error::Kind { found: shortened(&opened.kind), expected: T::SUBJECT });
        }
        if opened.version == 1 {
            legacy::upgrade(&mut opened.claims, &opened.kind);
        }
        legacy::complete(&mut opened.claims);
        let claims: Claims<T> = serde_json::from_value(opened.claims).map_err(|error| {
            Error::malformed(format!("its claims do not have the form they must have: {error}"))
        })?;
        let wrong_key =
            |field, found: &str, expected| Error::WrongKey { field, found: shortened(found), expected };
        if opened.issuer != T::ISSUER {
            return Err(wrong_key("issuer", &claims.iss, T::ISSUER));
        }
        if PublicKey::parse(&claims.sub, T::SUBJECT).is_none() {
            return Err(wrong_key("subject", &claims.sub, T::SUBJECT));
        }
        Ok(claims)
    }
}

/// Left out when writing.
pub(super) fn is_default<V: Default + PartialEq>(value: &V) -> bool {
    *value == V::default()
}
