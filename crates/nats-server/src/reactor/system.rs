//! Requests to the server itself, on subjects that begin with `$SYS.`: taken, answered at once or handed to the desk.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::operator::unix_now;
use crate::events::CloseReason;
use crate::monitor::State;
use crate::monitor::rows::AccountFigures;
use crate::proto::parser::Publish;
use crate::system::{
    AccountRequest, Conns, Desk, Job, MAX_BODY, Request, Said, ServerBlock, ServerRequest, UserInfo, What,
    claims_updated, connection_number, done, failed, id_only, parse, user_info,
};

use super::Reactor;

/// What a request costs, in the steps of `Fabric::work`.
const COST: u64 = 500;
/// The user of somebody who has shown a token: that is a secret, not a name.
pub(super) const TOKEN_USER: &str = "[REDACTED]";

/// State of this part.
#[derive(Default)]
pub(super) struct System {
    /// Who speaks, and with which documents; set before the loop starts.
    voice: Option<(Arc<ServerBlock>, Arc<State>)>,
    desk: Desk,
}

impl Reactor {
    /// Where the documents come from.
    pub(crate) fn set_documents(&mut self, state: Arc<State>) {
        let (id, name) = self.identity();
        let block = ServerBlock::new(id, name, self.options.host.clone());
        self.system.voice = Some((Arc::new(block), state));
    }

    pub(super) fn voice(&self) -> Option<(Arc<ServerBlock>, Arc<State>)> {
        self.system.voice.clone()
    }

    /// A client has published to a subject that begins with `$SYS.`. True: somebody answers, so it is no use to say that
    /// nobody does.
    #[cold]
    pub(super) fn asked(&mut self, key: u32, publish: &Publish<'_>) -> bool {
        let Some((block, state)) = self.voice() else { return false };
        let Some(conn) = self.fabric.conn(key) else { return false };
        let account = conn.account;
        let is_system = self.auth.system_account() == Some(account);
        let Some(request) = parse(publish.subject, block.id(), is_system, self.options.account_services)
        else {
            return false;
        };
        self.fabric.work += COST;
        let body = publish.body;
        // Commands need no reply; questions without one are answered to nobody.
        let reply = publish.reply.unwrap_or_default();
        let answer = match request {
            Request::Kick => self.kick(&block, &state, body),
            Request::LameDuck => self.send_away(&block, &state, body),
            Request::Reload => {
                let problem = "the configuration is read again on a signal, not on a request";
                Some(failed(&block, state.time(), 500, problem))
            }
            Request::ClaimsUpdate { name } => {
                let problem = self.update_claims(name, body).err();
                Some(claims_updated(&block, state.time(), name, problem.as_deref()))
            }
            _ if reply.is_empty() => None,
            Request::UserInfo => self.about_user(&block, &state, key),
            Request::NoUser => {
                let nobody = UserInfo {
                    user: "",
                    account: "",
                    account_name: "",
                    user_name: None,
                    permissions: None,
                    is_operator_mode: false,
                    expires: None,
                };
                Some(user_info(&block, state.time(), nobody))
            }
            Request::Server(ServerRequest::Idz) => Some(id_only(&block)),
            Request::Account { name, what: AccountRequest::Conns } => {
                let number = self.auth.find_account(name);
                number.map(|number| self.conns(number).event(&block, state.time()))
            }
            Request::Server(what) => {
                return self.submit(account, reply, What::Server(what), body);
            }
            Request::Account { name, what } => {
                return self.submit(account, reply, What::Account { name: name.into(), what }, body);
            }
            Request::OwnAccount(what) => {
                let name = self.auth.account(account).as_ref().into();
                return self.submit(account, reply, What::Account { name, what }, body);
            }
        };
        if let Some(answer) = answer.filter(|_| !reply.is_empty()) {
            self.fabric.tell(account, reply, &answer);
        }
        true
    }

    pub(super) fn submit(&mut self, account: u32, reply: &[u8], what: What, body: &[u8]) -> bool {
        let Some((block, state)) = self.voice() else { return false };
        // A longer one is refused when it is read.
        let body = body.get(..body.len().min(MAX_BODY + 1)).unwrap_or_default();
        let job = Job { account, subject: reply.into(), what, body: body.into() };
        self.system.desk.submit(job, &state, &block)
    }

    /// Publishes what the desk has made.
    pub(super) fn say(&mut self, said: &Said) {
        self.fabric.tell(said.account, &said.subject, &said.body);
    }

    fn about_user(&mut self, block: &ServerBlock, state: &State, key: u32) -> Option<Vec<u8>> {
        let conn = self.fabric.conn(key)?;
        let (number, user) = (conn.account, conn.user.clone());
        let is_token = conn.has_proved && user.is_empty();
        let permissions = conn.guard.as_ref().map(|guard| guard.permissions());
        let left = conn.pass.as_ref().and_then(|pass| pass.expires()).map(|(at, _)| at - unix_now());
        let pass = conn.pass.clone();
        let info = UserInfo {
            user: if is_token { TOKEN_USER } else { &user },
            account: &self.auth.account(number),
            account_name: &self.auth.account_label(number),
            user_name: pass.as_ref().map(|pass| pass.claims().name.as_str()).filter(|name| !name.is_empty()),
            permissions,
            is_operator_mode: pass.is_some(),
            expires: left.map(|left| Duration::from_secs(u64::try_from(left).unwrap_or(0))),
        };
        Some(user_info(block, state.time(), info))
    }

    /// Replaces the document of an account that is known. The loop checks two signatures for this, which is bounded.
    fn update_claims(&mut self, name: &str, jwt: &[u8]) -> Result<(), String> {
        self.fabric.work += COST * 20;
        let trust = self.auth.trust().cloned().ok_or("this server has no operator")?;
        let jwt = std::str::from_utf8(jwt).ok().filter(|jwt| jwt.len() <= MAX_BODY);
        let account = trust.account(jwt.ok_or("it is not a JWT")?.trim())?;
        if account.key() != name {
            return Err("the JWT is that of another account".to_owned());
        }
        if self.auth.find_account(name).is_none() {
            return Err("the account is not known here".to_owned());
        }
        self.account_changed(account);
        Ok(())
    }

    fn find_conn(&mut self, cid: u64) -> Option<u32> {
        let keys = self.fabric.peers.keys();
        self.fabric.work += keys.len() as u64;
        keys.into_iter()
            .find(|key| self.fabric.conn(*key).is_some_and(|conn| conn.cid == cid && !conn.is_closing()))
    }

    fn kick(&mut self, block: &ServerBlock, state: &State, body: &[u8]) -> Option<Vec<u8>> {
        let cid = connection_number(body)?;
        let Some(key) = self.find_conn(cid) else {
            return Some(failed(block, state.time(), 500, "no such client or leafnode id"));
        };
        tracing::info!(cid, "NATS server: a user of the system account has a connection closed");
        self.close_with(key, None, CloseReason::Kicked);
        Some(done(block, state.time()))
    }

    /// Lame duck mode for one client.
    fn send_away(&mut self, block: &ServerBlock, state: &State, body: &[u8]) -> Option<Vec<u8>> {
        let cid = connection_number(body)?;
        let Some(key) = self.find_conn(cid) else {
            return Some(failed(block, state.time(), 500, "no such client id"));
        };
        if self.fabric.conn(key).is_some_and(|conn| conn.behaviour.protocol >= 1) {
            let before = std::mem::replace(&mut self.info.lame_duck, true);
            self.send_info(key, true);
            self.info.lame_duck = before;
        }
        Some(done(block, state.time()))
    }

    /// What an account does.
    pub(super) fn account_figures(&self, number: u32) -> AccountFigures {
        let connections = self.members.count(number) as u64;
        AccountFigures { connections, ledger: self.fabric.ledger_of(number) }
    }

    pub(super) fn conns(&self, number: u32) -> Conns {
        let figures = self.account_figures(number);
        let subscriptions = self.fabric.interest(number).map_or(0, |interest| interest.subscriptions);
        let (account, label) = (self.auth.account(number), self.auth.account_label(number));
        Conns::new(&account, &label, figures.connections, subscriptions, &figures.ledger)
    }
}
