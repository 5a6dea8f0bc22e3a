//! Documents of decentralised authentication: an operator signs for accounts, an account signs for users, a user signs
//! what the server makes up for it. Pure: no sockets, no files.
//!
//! ```
//! use bacalhau_nats_server::jwt::{AccountClaims, Creds, KeyPair, OperatorClaims, Role, UserClaims};
//! # fn main() -> Result<(), bacalhau_nats_server::jwt::Error> {
//! let (operator, account, user) =
//!     (KeyPair::generate(Role::Operator)?, KeyPair::generate(Role::Account)?, KeyPair::generate(Role::User)?);
//! let operator_jwt = OperatorClaims::new(operator.public_key(), "O").sign(&operator)?;
//! let account_jwt = AccountClaims::new(account.public_key(), "A").sign(&operator)?;
//! let creds = Creds::new(UserClaims::new(user.public_key(), "U").sign(&account)?, user)?;
//! let file = creds.to_text();
//! # assert!(Creds::parse(&file).is_ok() && OperatorClaims::decode(&operator_jwt).is_ok() && AccountClaims::decode(&account_jwt).is_ok());
//! # Ok(())
//! # }
//! ```

mod bodies;
mod claims;
mod creds;
mod encode;
mod error;
mod keys;
mod legacy;
mod terms;
#[cfg(test)]
mod tests;
mod token;

pub use crate::auth::nkey::Role;
pub use bodies::{Account, AccountLimits, Operator, Scope, SigningKey, User};
pub use claims::{AccountClaims, Body, Claims, Common, OperatorClaims, UserClaims};
pub use creds::Creds;
pub use error::Error;
pub use keys::KeyPair;
pub use terms::{NO_LIMIT, Permission, Permissions, Response, Terms, TimeRange};
