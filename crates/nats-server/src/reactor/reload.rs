//! Other settings for a server that runs, taken over between two rounds: nobody sees one half of them. Connections that
//! may stay keep what they have, and lose what they may not have any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::nkey;
use crate::auth::replaced::Replaced;
use crate::auth::{Identity, Member, Standing};
use crate::events::CloseReason;
use crate::hub::LocalLimits;
use crate::peer::Hold;
use crate::permissions::Guard;
use crate::proto::text;
use crate::proto::write::error_line;
use crate::reload::{Change, Users};
use crate::router::SubId;
use crate::transport::Transport;

use super::{Opening, Reactor};

impl Reactor {
    /// Takes over other settings.
    pub(super) fn reload(&mut self, change: Change) {
        let Change { options, doors, users } = change;
        for (number, tls) in doors {
            if let Some(door) = self.doors.get_mut(number) {
                door.tls = tls;
            }
        }
        let limits = LocalLimits::new(&options);
        self.hub.set_limits(limits);
        self.fabric.set_limits(limits);
        self.info.follow(&options);
        let old = std::mem::replace(&mut self.options, options);
        if let Some(users) = users {
            self.users_changed(users);
        }
        self.close_above_max_connections();
        for key in self.fabric.peers.keys() {
            self.follow_limits(key);
        }
        if old.connect_urls != self.options.connect_urls {
            self.info.connect_urls.clone_from(&self.options.connect_urls);
            self.inform_all();
        }
    }

    /// To be called between taking something that was sent and acting on it.
    #[inline]
    pub(super) fn hear_change(&mut self) {
        if self.hub.is_changing() {
            self.hear();
        }
    }

    /// What a connection has been told of limits when it logged in, and the times that are running.
    fn follow_limits(&mut self, key: u32) {
        let frame = self.longest_frame();
        let Some(conn) = self.fabric.conn(key) else { return };
        if let Transport::Web(stream) = &mut conn.transport
            && conn.connected
        {
            stream.trust(frame);
        }
        self.schedule(key);
    }

    /// Those who came last go first.
    fn close_above_max_connections(&mut self) {
        let max = self.options.max_connections;
        let mut open = Vec::new();
        for key in self.fabric.peers.keys() {
            if let Some(conn) = self.fabric.conn(key).filter(|conn| !conn.is_closing()) {
                open.push((conn.cid, key, conn.opening == Opening::Done));
            }
        }
        if open.len() <= max {
            return;
        }
        open.sort_unstable();
        let surplus = open.split_off(max);
        tracing::info!("NATS server: Closed {} connections to fall within max_connections", surplus.len());
        for (_, key, is_open) in surplus {
            match is_open {
                true => {
                    self.close_with(key, Some(text::MAX_CONNECTIONS), CloseReason::MaxConnectionsExceeded);
                }
                // In the middle of a handshake there is no way to say it.
                false => self.drop_conn(key, CloseReason::MaxConnectionsExceeded),
            }
        }
    }

    /// Other users may connect than before, or with other rights.
    fn users_changed(&mut self, users: Users) {
        let Users { mut auth, replaced, revoked } = users;
        auth.keep_numbers(&self.auth);
        self.auth = auth;
        self.fabric.add_accounts(self.auth.accounts());
        // Of operator mode, by account.
        let mut members: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
        for key in self.fabric.peers.keys() {
            let Some(conn) = self.fabric.conn(key).filter(|conn| !conn.is_closing()) else { continue };
            if conn.pass.is_some() {
                members.entry(conn.account).or_default().push((conn.cid, key));
                self.judge_again(key, true);
            } else {
                self.look_up_again(key, &replaced, revoked);
            }
        }
        for (account, members) in members {
            self.close_above_limit(account, members);
        }
    }

    fn look_up_again(&mut self, key: u32, replaced: &Replaced, revoked: bool) {
        self.look_up_login(key, replaced);
        let keyed = self.fabric.keyed;
        let Some(conn) = self.fabric.conn(key).filter(|conn| !conn.is_closing()) else { return };
        if conn.must_authenticate || conn.opening != Opening::Done {
            // It has shown nothing and got nothing. What it shows later will be judged by the new rules.
            match self.auth.nobody() {
                Some(nobody) if !conn.is_held() => conn.become_user(nobody.clone(), keyed),
                Some(_) => {}
                None => conn.must_authenticate = true,
            }
            if conn.opening != Opening::Done && conn.nonce.is_none() && self.auth.wants_signatures() {
                conn.nonce = nkey::nonce();
            }
            return;
        }
        let by = conn.connection_type();
        let (user, account, has_proved) = (&conn.user, conn.account, conn.has_proved);
        let standing = self.auth.standing(&Member { user, account, has_proved, by }, replaced);
        let (text, reason) = match standing {
            Standing::Stays(identity) => return self.renew(key, identity),
            Standing::Gone | Standing::Refused if revoked => {
                (Some(text::USER_REVOKED), CloseReason::Revocation)
            }
            // Without a word, so that it comes back at once and finds out what has become of its user.
            Standing::Gone => (None, CloseReason::ClientClosed),
            Standing::Refused => (Some(text::AUTHORIZATION), CloseReason::AuthenticationFailure),
        };
        tracing::info!(
            cid = conn.cid, addr = %conn.addr, user = &*conn.user, %reason,
            "NATS server: other settings end the connection of a user"
        );
        self.close_with(key, text, reason);
    }

    /// A log-in whose password is being checked must still be possible when that is done.
    fn look_up_login(&mut self, key: u32, replaced: &Replaced) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let by = conn.connection_type();
        let Hold::Checking(login, _) = &mut conn.hold else { return };
        let (user, account) = (&login.identity.user, login.identity.account);
        let member = Member { user, account, has_proved: true, by };
        match self.auth.standing(&member, replaced) {
            Standing::Stays(identity) => login.identity = identity,
            Standing::Gone | Standing::Refused => self.cut_off(key),
        }
    }

    /// It stays, with the permissions of now.
    pub(super) fn renew(&mut self, key: u32, identity: Identity) {
        let keyed = self.fabric.keyed;
        let has_credentials = self.auth.has_credentials();
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.has_proved &= has_credentials;
        let same = match (&conn.guard, &identity.permissions) {
            (None, None) => true,
            (Some(guard), Some(rules)) => guard.has(rules),
            _ => false,
        };
        if same {
            return;
        }
        conn.guard = identity.permissions.map(|rules| Box::new(Guard::new(Arc::clone(&rules), keyed)));
        if conn.guard.is_some() {
            self.remove_forbidden(key);
        }
    }

    /// Takes away the subscriptions that a connection may not have any more, and tells it.
    fn remove_forbidden(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let mut own: Vec<(Box<[u8]>, SubId)> = conn.subs.iter().map(|(sid, id)| (sid.clone(), *id)).collect();
        own.sort_unstable();
        for (sid, id) in own {
            let Some((pattern, queue)) = self.fabric.pattern(id) else { continue };
            let (pattern, queue) = (pattern.to_vec(), queue.map(<[u8]>::to_vec));
            let Some(conn) = self.fabric.conn(key) else { return };
            let Some(guard) = &mut conn.guard else { return };
            if guard.may_subscribe(&pattern, queue.as_deref()) {
                continue;
            }
            let (cid, user) = (conn.cid, conn.user.clone());
            self.fabric.unsubscribe(id, None);
            tracing::debug!(
                cid, user = &*user, subject = %String::from_utf8_lossy(&pattern),
                "NATS server: a subscription is removed, for it is not allowed any more"
            );
            let problem = text::subscription_removed(&pattern, queue.as_deref(), &sid);
            self.fabric.send(key, &error_line(&problem));
        }
    }
}
