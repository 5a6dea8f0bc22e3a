//! The standing of connected users in operator mode: how many an account has, until when they may stay, and what
//! becomes of them when the document of their account is replaced.

use std::sync::Arc;
use std::time::Duration;

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
                self.judge_again(key, false);
            }
        }
        self.close_above_limit(number, members);
    }

    /// Closes those of an account's members (connection and key) that are too many. Those who came last go first.
    pub(super) fn close_above_limit(&mut self, number: u32, mut members: Vec<(u64, u32)>) {
        let Some(limit) = self.auth.connection_limit(number) else { return };
        members.sort_unstable();
        while self.members.count(number) > limit {
            let Some((_, key)) = members.pop() else { return };
            let reason = CloseReason::MaxAccountConnectionsExceeded;
            self.close_with(key, Some(text::MAX_ACCOUNT_CONNECTIONS), reason);
        }
    }

    /// A user of operator mode is judged by what is known of its account now: because of the account's new document, or
    /// because everything was read again (`reloaded`).
    pub(super) fn judge_again(&mut self, key: u32, reloaded: bool) {
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
        let failure = CloseReason::AuthenticationFailure;
        match renewed {
            Ok(identity) => {
                let same = |new: &Arc<Pass>| new.scope() == pass.scope();
                if !identity.pass.as_ref().is_some_and(same) {
                    // The key that signed for it is now for something else. Without a word, so that it comes back.
                    return self.close_with(key, None, failure);
                }
                conn.pass.clone_from(&identity.pass);
                self.note_expiry(key);
                self.renew(key, identity);
            }
            Err(refusal) => {
                let (text, reason) = match &refusal {
                    Refusal::Revoked => (Some(text::USER_REVOKED), CloseReason::Revocation),
                    Refusal::UserExpired | Refusal::TimeOfDay => {
                        (Some(text::USER_EXPIRED), CloseReason::AuthenticationExpired)
                    }
                    Refusal::AccountExpired if !reloaded => {
                        (Some(text::ACCOUNT_EXPIRED), CloseReason::AuthenticationExpired)
                    }
                    Refusal::UnknownSigner(_) => (None, failure),
                    _ => (Some(text::AUTHORIZATION), failure),
                };
                tracing::info!(
                    cid = conn.cid, addr = %conn.addr, user = &*conn.user, %refusal,
                    "NATS server: a new JWT of its account ends the connection of a user"
                );
                self.close_with(key, text, reason);
            }
        }
    }
}
