//! What the operator's document says: which keys may sign for accounts, and what is asked of them.

use std::collections::HashSet;

use crate::auth::nkey::{PublicKey, Role};
use crate::jwt::{AccountClaims, OperatorClaims};
use crate::options::OperatorOptions;
use crate::proto::info::COMPATIBLE_VERSION;

use super::TrustedAccount;

/// Decides which accounts are genuine.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Keys that may sign for accounts.
    signers: HashSet<String>,
    /// Accounts must use signing keys, too.
    strict: bool,
    system_account: Option<String>,
}

impl Trust {
    /// # Errors
    /// Text: the operator's document cannot be used, or contradicts the options.
    pub(super) fn new(options: &OperatorOptions) -> Result<Trust, String> {
        let claims =
            OperatorClaims::decode(&options.jwt).map_err(|error| format!("the operator's JWT: {error}"))?;
        let operator = claims.nats;
        for key in &operator.signing_keys {
            if PublicKey::parse(key, Role::Operator).is_none() {
                return Err(format!(
                    "signing key {key:?} of the operator is not the public nkey of an operator"
                ));
            }
        }
        // Whoever puts the document into the options trusts it; this finds one that was put together wrongly.
        if claims.iss != claims.sub && !operator.signing_keys.contains(&claims.iss) {
            return Err(format!(
                "the operator's JWT is signed by {:?} and not by the operator {:?} itself",
                claims.iss, claims.sub
            ));
        }
        let now = super::pass::unix_now();
        if claims.exp > 0 && claims.exp <= now {
            return Err("the operator's JWT has expired; make a new one".to_owned());
        }
        if claims.nbf > now {
            return Err("the operator's JWT is not valid yet; check the clock of this machine".to_owned());
        }
        check_version(&operator.assert_server_version)?;
        let mut signers: HashSet<String> = operator.signing_keys.into_iter().collect();
        if !operator.strict_signing_key_usage {
            signers.insert(claims.sub);
        }
        let named = Some(operator.system_account).filter(|key| !key.is_empty());
        let system_account = match (&options.system_account, named) {
            (Some(option), Some(named)) if *option != named => {
                return Err(format!(
                    "system_account is {option:?}, and the operator's JWT says {named:?}; they must be the same"
                ));
            }
            (option, named) => option.clone().or(named),
        };
        Ok(Trust { signers, strict: operator.strict_signing_key_usage, system_account })
    }

    /// The public key of the system account.
    pub(super) fn system_account(&self) -> Option<&str> {
        self.system_account.as_deref()
    }

    /// Reads the document of an account.
    ///
    /// # Errors
    /// Text: it is damaged, the operator has not signed it, or it needs what is not possible here.
    pub(crate) fn account(&self, jwt: &str) -> Result<TrustedAccount, String> {
        let claims = AccountClaims::decode(jwt).map_err(|error| error.to_string())?;
        if !self.signers.contains(&claims.iss) {
            return Err(format!(
                "it is signed by {:?}, which is not a key with which the operator signs accounts; have the operator \
                 sign it",
                claims.iss
            ));
        }
        TrustedAccount::new(claims, self.strict)
    }
}

/// The operator may ask for a server that is new enough.
fn check_version(wanted: &str) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let parse = |text: &str| -> Option<Vec<u32>> {
        let parts = text.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>();
        parts.filter(|parts| parts.len() == 3)
    };
    match parse(wanted) {
        Some(parts) if Some(&parts) <= parse(COMPATIBLE_VERSION).as_ref() => Ok(()),
        Some(_) => Err(format!(
            "the operator asks for servers of version {wanted} or later, and this one behaves like {COMPATIBLE_VERSION}"
        )),
        None => Err(format!("assert_server_version {wanted:?} of the operator is not a version like 2.10.0")),
    }
}
