//! Operator mode: users that no configuration lists. A user shows a document that its account has signed; the account's
//! document is known here and signed by the operator. Every restriction in these documents is either kept or the
//! reason for a refusal, never passed over.

mod account;
mod pass;
mod template;
mod terms;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::nkey::{PublicKey, Role};
use crate::error::Error;
use crate::jwt::UserClaims;
use crate::options::OperatorOptions;
use crate::permissions::Compiled;
use crate::proto::connect::Connect;

use super::Identity;

pub(crate) use account::TrustedAccount;
pub(crate) use pass::{Expiry, Pass, unix_now};
pub(crate) use trust::Trust;

/// How a client is connected; users may be bound to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionType {
    Standard,
    WebSocket,
}

impl ConnectionType {
    /// Its name in documents and configurations.
    pub(super) fn name(self) -> &'static str {
        match self {
            ConnectionType::Standard => "STANDARD",
            ConnectionType::WebSocket => "WEBSOCKET",
        }
    }
}

/// Who asks, beside what it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// What it was given to sign.
    pub(crate) nonce: Option<&'a str>,
    pub(crate) addr: IpAddr,
    pub(crate) connection_type: ConnectionType,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// Why a user is not let in, or may not stay. For the log and the choice of the error text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it shows no JWT")]
    NothingShown,
    #[error("{0}")]
    Document(#[from] crate::jwt::Error),
    #[error("the JWT of the user has expired")]
    UserExpired,
    #[error("the JWT of the account has expired")]
    AccountExpired,
    #[error("the JWT of the {0} is not valid yet")]
    TooEarly(Role),
    #[error("account {0:?} is not known; add its JWT to the resolver")]
    UnknownAccount(String),
    #[error("the JWT of the user is signed by {0:?}, which is not a signing key of its account")]
    UnknownSigner(String),
    #[error("the signing key is scoped, and the JWT has permissions or limits of its own")]
    OwnTerms,
    #[error("its account does not allow bearer tokens")]
    Bearer,
    #[error("it did not sign the nonce with the key of its JWT")]
    NotSigned,
    #[error("the JWT of the user is revoked")]
    Revoked,
    #[error("it connects from {0}, which its JWT does not allow")]
    Source(IpAddr),
    #[error("its JWT allows connections of type {0:?} only")]
    ConnectionType(Vec<String>),
    #[error("its JWT does not allow it to be connected at this time of the day")]
    TimeOfDay,
    #[error("its JWT has a restriction that cannot be kept here: {0}")]
    Unsupported(String),
}

/// The operator's accounts.
pub(crate) struct Accounts {
    trust: Arc<Trust>,
    /// In the order of their numbers, beginning with 1. Empty places are those of accounts that were taken away.
    list: Vec<Option<TrustedAccount>>,
    numbers: HashMap<String, u32>,
}

impl Accounts {
    /// # Errors
    /// [`Error::Option`] for documents that are damaged or that the operator has not signed.
    pub(crate) fn new(options: &OperatorOptions) -> Result<Accounts, Error> {
        let wrong = |problem| Error::Option { option: "operator", problem };
        let trust = Trust::new(options).map_err(wrong)?;
        let mut accounts = Accounts { trust: Arc::new(trust), list: Vec::new(), numbers: HashMap::new() };
        for (key, jwt) in &options.resolver {
            let account = accounts.trust.account(jwt).map_err(|problem| {
                wrong(format!("the JWT of account {key:?} in the resolver cannot be used: {problem}"))
            })?;
            if account.key() != key {
                let problem =
                    format!("the resolver has the JWT of account {:?} under {key:?}", account.key());
                return Err(wrong(problem));
            }
            accounts.put(account);
        }
        if let Some(system) = accounts.trust.system_account()
            && !accounts.numbers.contains_key(system)
        {
            return Err(wrong(format!(
                "the system account {system:?} is not in the resolver; add its JWT there"
            )));
        }
        Ok(accounts)
    }

    /// What decides about accounts.
    pub(crate) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The public keys, in the order of their numbers, beginning with 1.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flatten().map(TrustedAccount::key)
    }

    /// Adds an account or replaces what is known about it; gives its number.
    pub(crate) fn put(&mut self, account: TrustedAccount) -> u32 {
        let next = u32::try_from(self.list.len() + 1).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(account.key().to_owned()).or_insert(next);
        match self.list.get_mut(number as usize - 1) {
            Some(known) => *known = Some(account),
            None => self.list.push(Some(account)),
        }
        number
    }

    /// Gives the accounts the numbers of their names; the first name is not of the operator.
    pub(super) fn renumber(&mut self, names: &[Arc<str>]) {
        let mut known: HashMap<String, TrustedAccount> =
            self.list.drain(..).flatten().map(|account| (account.key().to_owned(), account)).collect();
        self.numbers = names.iter().map(|name| name.to_string()).zip(0..).skip(1).collect();
        self.list = names.iter().skip(1).map(|name| known.remove(&**name)).collect();
    }

    /// Connections that an account may have at one time.
    pub(crate) fn connection_limit(&self, number: u32) -> Option<usize> {
        let index = (number as usize).checked_sub(1)?;
        self.list.get(index)?.as_ref()?.connection_limit()
    }

    /// The number of the system account, if there is one.
    pub(crate) fn system_account(&self) -> Option<u32> {
        self.trust.system_account().and_then(|key| self.numbers.get(key)).copied()
    }

    /// The name of an account in its document, if it has one.
    pub(crate) fn label(&self, number: u32) -> Option<&str> {
        let account = self.list.get((number as usize).checked_sub(1)?)?.as_ref()?;
        Some(account.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Judges what a client shows.
    pub(crate) fn judge(&self, offered: &Connect, caller: &Caller<'_>) -> Result<Identity, Refusal> {
        let token = offered.jwt.as_deref().filter(|jwt| !jwt.is_empty()).ok_or(Refusal::NothingShown)?;
        let claims = UserClaims::decode(token)?;
        let identity = self.admit(Arc::new(claims), caller)?;
        let may_skip = identity.pass.as_ref().is_some_and(|pass| pass.is_bearer());
        if !may_skip {
            let key = PublicKey::parse(&identity.user, Role::User).ok_or(Refusal::NotSigned)?;
            let (nonce, signature) = caller.nonce.zip(offered.sig.as_deref()).ok_or(Refusal::NotSigned)?;
            if !key.has_signed(nonce.as_bytes(), signature) {
                return Err(Refusal::NotSigned);
            }
        }
        Ok(identity)
    }

    /// Judges a user whose document is genuine: when it connects, and again when its account changes.
    pub(crate) fn admit(&self, claims: Arc<UserClaims>, caller: &Caller<'_>) -> Result<Identity, Refusal> {
        let named = match claims.nats.issuer_account.as_str() {
            "" => claims.iss.as_str(),
            account => account,
        };
        let number = self.numbers.get(named).copied();
        let known = number.and_then(|number| Some((number, self.list.get(number as usize - 1)?.as_ref()?)));
        let (number, account) =
            known.ok_or_else(|| Refusal::UnknownAccount(named.chars().take(64).collect()))?;
        let pass = Pass::issue(account, claims, caller)?;
        let permissions = Compiled::new(pass.permissions()).map_err(Refusal::Unsupported)?;
        let restricted = *pass.permissions() != Default::default();
        Ok(Identity {
            account: number,
            user: pass.subject().into(),
            permissions: restricted.then(|| Arc::new(permissions)),
            pass: Some(Arc::new(pass)),
        })
    }
}
