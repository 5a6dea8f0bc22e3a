//! The standing of connected users in operator mode: how many an account has, until when they may stay, and what
//! becomes of them when the document of their account is replaced.

use std::time::Duration;

use crate::auth::Authenticator;
use crate::auth::operator::{Caller, Expiry, Pass, Refusal, TrustedAccount, unix_now};
use crate::events::CloseReason;
use crate::proto::text;

use super::Reactor;

/// Connections by number of the account.
#[derive(Default)]
pub(super) struct Members {
    counts: Vec<usize>,
}

impl Members {
    pub(super) fn count(&self, account: u32) -> usize {
        self.counts.get(account as usize).copied().unwrap_or(0)
    }

    fn enter(&mut self, account: u32) {
        let index = account as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
    }

    pub(super) fn leave(&mut self, account: u32) {
        if let Some(count) = self.counts.get_mut(account as usize) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Reactor {
    /// Counts a connection that logs in to an account. False: that has as many as it may.
    pub(super) fn enter(&mut self, key: u32, account: u32) -> bool {
        let Some(conn) = self.fabric.conn(key) else { return false };
        let before = conn.connected.then_some(conn.account);
        if before == Some(account) {
            return true;
        }
        if self.auth.connection_limit(account).is_some_and(|limit| self.members.count(account) >= limit) {
            return false;
        }
        if let Some(before) = before {
            self.members.leave(before);
            self.tell_conns(before);
        }
        self.members.enter(account);
        self.tell_conns(account);
        true
    }

    /// Sets the timer for the end of a connection's credentials.
    pub(super) fn note_expiry(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        let left =
            conn.pass.as_ref().and_then(|pass| pass.expires()).map(|(at, _)| at.saturating_sub(unix_now()));
        // Too far away for the clock is as good as never.
        conn.expires_at =
            left.and_then(|left| now.checked_add(Duration::from_secs(u64::try_from(left).unwrap_or(0))));
        self.schedule(key);
    }

    /// Ends a connection whose time is over.
    pub(super) fn expire(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.expires_at = None;
        let whose = conn.pass.as_ref().and_then(|pass| pass.expires());
        let text = match whose {
            Some((_, Expiry::Account)) => text::ACCOUNT_EXPIRED,
            _ => text::USER_EXPIRED,
        };
        self.close_with(key, Some(text), CloseReason::AuthenticationExpired);
    }

    /// The document of an account is new: its users are judged anew.
    pub(super) fn account_changed(&mut self, account: TrustedAccount) {
        let Some(number) = self.auth.put_account(account) else { return };
        self.fabric.add_accounts(self.auth.accounts());
        let mut members = Vec::new();
        for key in self.fabric.peers.keys() {
            let Some(conn) = self.fabric.conn(key) else { continue };
            if conn.connected && conn.account == number && !conn.is_closing() {
                members.push((conn.cid, key));
                self.judge_again(key);
            }
        }
        let Some(limit) = self.auth.connection_limit(number) else { return };
        // Those who came last go first.
        members.sort_unstable();
        while self.members.count(number) > limit {
            let Some((_, key)) = members.pop() else { return };
            let reason = CloseReason::MaxAccountConnectionsExceeded;
            self.close_with(key, Some(text::MAX_ACCOUNT_CONNECTIONS), reason);
        }
    }

    /// Other users may connect than before: those who may not any more are cut off.
    pub(super) fn users_changed(&mut self, auth: Authenticator) {
        self.auth = auth;
        for key in self.fabric.peers.keys() {
            let Some(conn) = self.fabric.conn(key) else { continue };
            if conn.is_closing() || conn.must_authenticate {
                continue;
            }
            if !self.auth.still_knows(&conn.user, conn.has_proved) {
                tracing::info!(
                    cid = conn.cid, addr = %conn.addr, user = &*conn.user,
                    "NATS server: a connection is ended, for its user may not connect any more"
                );
                self.close_with(key, Some(text::USER_REVOKED), CloseReason::Revocation);
            }
        }
    }

    fn judge_again(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some(pass) = conn.pass.clone() else { return };
        let caller = Caller {
            nonce: None,
            addr: conn.addr.ip(),
            connection_type: pass.connection_type(),
            now: unix_now(),
        };
        let Some(accounts) = self.auth.operator() else { return };
        let renewed = accounts.admit(pass.claims().clone(), &caller);
        let Some(conn) = self.fabric.conn(key) else { return };
        let same = |new: &Pass| new.permissions() == pass.permissions();
        match renewed.map(|identity| identity.pass) {
            Ok(Some(new)) if same(&new) => {
                conn.pass = Some(new);
                self.note_expiry(key);
            }
            // Its subscriptions were allowed by other rules. Without a word, so that it comes back at once.
            Ok(_) => self.close_with(key, None, CloseReason::Revocation),
            Err(refusal) => {
                let (text, reason) = match &refusal {
                    Refusal::Revoked => (text::USER_REVOKED, CloseReason::Revocation),
                    Refusal::UserExpired | Refusal::TimeOfDay => {
                        (text::USER_EXPIRED, CloseReason::AuthenticationExpired)
                    }
                    Refusal::AccountExpired => (text::ACCOUNT_EXPIRED, CloseReason::AuthenticationExpired),
                    _ => (text::AUTHORIZATION, CloseReason::Revocation),
                };
                tracing::info!(
                    cid = conn.cid, addr = %conn.addr, user = &*conn.user, %refusal,
                    "NATS server: a new JWT of its account ends the connection of a user"
                );
                self.close_with(key, Some(text), reason);
            }
        }
    }
}
