//! What a user was let in with: its document, what it may do, and until when.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::auth::nkey::Role;
use crate::jwt::{Scope, Terms, UserClaims};
use crate::users::Permissions;

use super::account::TrustedAccount;
use super::{Caller, ConnectionType, Refusal, template, terms};

/// Whose time runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    User,
    Account,
}

/// The standing of one connected user.
#[derive(Debug)]
pub(crate) struct Pass {
    claims: Arc<UserClaims>,
    connection_type: ConnectionType,
    bearer: bool,
    /// Of the key that signed for it, if that has one.
    scope: Option<Arc<Scope>>,
    permissions: Permissions,
    subs: Option<usize>,
    payload: Option<usize>,
    expires: Option<(i64, Expiry)>,
}

impl Pass {
    /// Lets a user into an account.
    pub(super) fn issue(
        account: &TrustedAccount,
        claims: Arc<UserClaims>,
        caller: &Caller<'_>,
    ) -> Result<Pass, Refusal> {
        if claims.exp > 0 && claims.exp <= caller.now {
            return Err(Refusal::UserExpired);
        }
        if claims.nbf > caller.now {
            return Err(Refusal::TooEarly(Role::User));
        }
        let scoped = match account.scope(&claims)? {
            None => None,
            Some(_) if claims.nats.terms != Terms::blank() => return Err(Refusal::OwnTerms),
            Some(scope) => Some(template::apply(&scope.template, &claims, account)?),
        };
        account.check_time(caller.now)?;
        if account.has_revoked(&claims) {
            return Err(Refusal::Revoked);
        }
        let terms = scoped.as_ref().map_or(&claims.nats.terms, |scoped| &scoped.terms);
        if terms.bearer_token && account.limits.disallow_bearer {
            return Err(Refusal::Bearer);
        }
        terms::check_connection_type(terms, caller.connection_type)?;
        terms::check_source(terms, caller.addr)?;
        if terms.data > 0 {
            return Err(Refusal::Unsupported("a limit of bytes (data)".to_owned()));
        }
        let closing = terms::check_time_of_day(terms, caller.now)?;
        let user_expires = [Some(claims.exp).filter(|at| *at > 0), closing].into_iter().flatten().min();
        let account_expires = Some(account.expires).filter(|at| *at > 0);
        let expires =
            [user_expires.map(|at| (at, Expiry::User)), account_expires.map(|at| (at, Expiry::Account))];
        let own = match &scoped {
            Some(scoped) => scoped.permissions.clone(),
            None => terms::permissions(&terms.permissions),
        };
        let permissions = match own == Permissions::default() {
            true => terms::permissions(&account.default_permissions),
            false => own,
        };
        let least = |one, other| [terms::limit(one), terms::limit(other)].into_iter().flatten().min();
        Ok(Pass {
            connection_type: caller.connection_type,
            bearer: terms.bearer_token,
            scope: account.scope(&claims)?.cloned(),
            permissions,
            subs: least(terms.subs, account.limits.subs),
            payload: least(terms.payload, account.limits.payload),
            expires: expires.into_iter().flatten().min_by_key(|(at, _)| *at),
            claims,
        })
    }

    /// The user's public key.
    pub(super) fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// The document.
    pub(crate) fn claims(&self) -> &Arc<UserClaims> {
        &self.claims
    }

    /// How the user is connected.
    pub(crate) fn connection_type(&self) -> ConnectionType {
        self.connection_type
    }

    /// Need it not sign anything?
    pub(super) fn is_bearer(&self) -> bool {
        self.bearer
    }

    /// The scope of the key that signed for it.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// What it may do.
    pub(crate) fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// Subscriptions that it may have.
    pub(crate) fn max_subs(&self) -> Option<usize> {
        self.subs
    }

    /// Bytes of a message that it sends.
    pub(crate) fn max_payload(&self) -> Option<usize> {
        self.payload
    }

    /// When it must go, in seconds since 1970, and why.
    pub(crate) fn expires(&self) -> Option<(i64, Expiry)> {
        self.expires
    }
}

/// Seconds since 1970; documents tell time in these.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
