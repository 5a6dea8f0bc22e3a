//! An account that the operator has signed for, and what its document lays down for all of its users.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::auth::nkey::{PublicKey, Role};
use crate::jwt::{AccountClaims, AccountLimits, Permissions, Scope, SigningKey, UserClaims};
use crate::permissions::Compiled;

use super::{Refusal, terms};

/// The revocation entry for every user.
const EVERYBODY: &str = "*";

/// What is known about an account.
#[derive(Clone, Debug)]
pub(crate) struct TrustedAccount {
    key: String,
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    /// Keys that sign for users; with their scope, if they have one.
    signers: HashMap<String, Option<Arc<Scope>>>,
    revocations: BTreeMap<String, i64>,
    pub(super) default_permissions: Permissions,
    pub(super) limits: AccountLimits,
    /// Seconds since 1970; 0: never.
    pub(super) expires: i64,
    not_before: i64,
}

impl TrustedAccount {
    /// # Errors
    /// Text: keys are damaged, or the document has restrictions that cannot be kept here.
    pub(super) fn new(claims: AccountClaims, strict: bool) -> Result<TrustedAccount, String> {
        let account = claims.nats;
        let mut signers = HashMap::new();
        if !strict {
            signers.insert(claims.sub.clone(), None);
        }
        for signer in account.signing_keys {
            let key = signer.key().to_owned();
            if PublicKey::parse(&key, Role::Account).is_none() {
                return Err(format!("its signing key {key:?} is not the public nkey of an account"));
            }
            let scope = match signer {
                SigningKey::Plain(_) => None,
                SigningKey::Scoped(scope) if scope.kind == Scope::KIND => Some(Arc::new(*scope)),
                SigningKey::Scoped(scope) => {
                    return Err(format!(
                        "its signing key {key:?} has a scope of unknown kind {:?}",
                        scope.kind
                    ));
                }
            };
            signers.insert(key, scope);
        }
        if account.authorization.values().any(|value| value.as_array().is_none_or(|list| !list.is_empty())) {
            return Err(
                "it hands decisions about users to a service (authorization), which is not possible here; \
                        take that out"
                    .to_owned(),
            );
        }
        if account.limits.data > 0 {
            return Err("it limits bytes (data), which is not counted here; take that limit out".to_owned());
        }
        Compiled::new(&terms::permissions(&account.default_permissions))
            .map_err(|problem| format!("its default permissions: {problem}"))?;
        if !account.imports.is_empty() || !account.mappings.is_empty() {
            tracing::warn!(
                account = claims.sub,
                imports = account.imports.len(),
                mappings = account.mappings.len(),
                "NATS server: imports and mappings of accounts are not carried out here; their subjects stay empty"
            );
        }
        Ok(TrustedAccount {
            key: claims.sub,
            name: claims.name,
            tags: account.common.tags,
            signers,
            revocations: account.revocations,
            default_permissions: account.default_permissions,
            limits: account.limits,
            expires: claims.exp,
            not_before: claims.nbf,
        })
    }

    /// The public key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Connections that it may have at one time.
    pub(super) fn connection_limit(&self) -> Option<usize> {
        terms::limit(self.limits.conn)
    }

    /// Is the document itself valid at this time?
    pub(super) fn check_time(&self, now: i64) -> Result<(), Refusal> {
        if self.expires > 0 && self.expires <= now {
            return Err(Refusal::AccountExpired);
        }
        if self.not_before > now {
            return Err(Refusal::TooEarly(Role::Account));
        }
        Ok(())
    }

    /// The scope of the key that signed for a user, if it has one.
    pub(super) fn scope(&self, claims: &UserClaims) -> Result<Option<&Arc<Scope>>, Refusal> {
        let signer = self.signers.get(&claims.iss);
        signer.map(Option::as_ref).ok_or_else(|| Refusal::UnknownSigner(claims.iss.clone()))
    }

    /// Was the user's document signed before it, or everybody, was revoked?
    pub(super) fn has_revoked(&self, claims: &UserClaims) -> bool {
        let entries =
            [claims.sub.as_str(), EVERYBODY].into_iter().filter_map(|key| self.revocations.get(key));
        entries.into_iter().any(|time| claims.iat <= *time)
    }
}
