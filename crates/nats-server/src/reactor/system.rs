//! What the server says about itself on subjects that begin with `$SYS.`: requests taken, answers and events published.
//! Events are not made while nobody in the system account listens to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::operator::unix_now;
use crate::events::CloseReason;
use crate::monitor::State;
use crate::monitor::rows::AccountFigures;
use crate::proto::parser::Publish;
use crate::system::{
    AccountRequest, Conns, Desk, Disconnect, Job, MAX_BODY, Request, Said, ServerBlock, ServerRequest,
    UserInfo, What, claims_updated, connect, connection_number, disconnect, done, failed, id_only, parse,
    user_info,
};

use super::Reactor;

/// The first regular figures come this long after the start ...
const FIRST_STATSZ: Duration = Duration::from_millis(250);
/// ... and then each time after a pause twice as long as before, beginning with twice this ...
const HALF_PAUSE: Duration = Duration::from_millis(500);
/// ... up to this.
const STATSZ: Duration = Duration::from_secs(10);
/// How often an account with connections is told of.
const CONNS: Duration = Duration::from_secs(30);
/// What a request costs, in the steps of `Fabric::work`.
const COST: u64 = 500;
/// The user of somebody who has shown a token: that is a secret, not a name.
const TOKEN_USER: &str = "[REDACTED]";

/// State of this part.
pub(super) struct System {
    /// Who speaks, and with which documents; set before the loop starts.
    voice: Option<(Arc<ServerBlock>, Arc<State>)>,
    desk: Desk,
    statsz_at: Instant,
    statsz_pause: Duration,
    conns_at: Instant,
}

impl System {
    pub(super) fn new(now: Instant) -> System {
        System {
            voice: None,
            desk: Desk::default(),
            statsz_at: now + FIRST_STATSZ,
            statsz_pause: HALF_PAUSE,
            conns_at: now + CONNS,
        }
    }
}

impl Reactor {
    /// Where the documents come from.
    pub(crate) fn set_documents(&mut self, state: Arc<State>) {
        let (id, name) = self.identity();
        let block = ServerBlock::new(id, name, self.options.host.clone());
        self.system.voice = Some((Arc::new(block), state));
    }

    fn voice(&self) -> Option<(Arc<ServerBlock>, Arc<State>)> {
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

    fn submit(&mut self, account: u32, reply: &[u8], what: What, body: &[u8]) -> bool {
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

    /// Who listens to an event: the system account, if anybody there does.
    fn listens(&mut self, subject: &str) -> Option<(u32, Arc<ServerBlock>, Arc<State>)> {
        let system = self.auth.system_account()?;
        if !self.fabric.has_interest(system, subject.as_bytes()) {
            return None;
        }
        let (block, state) = self.voice()?;
        Some((system, block, state))
    }

    /// Has the system account a subscription at all? Without one nothing here costs anything.
    fn is_heard(&self) -> bool {
        let system = self.auth.system_account();
        system.is_some_and(|system| self.fabric.has_subscriptions(system))
    }

    /// A client has logged in.
    pub(super) fn tell_connected(&mut self, key: u32) {
        if !self.is_heard() {
            return;
        }
        let Some(number) = self.fabric.conn(key).map(|conn| conn.account) else { return };
        let account = self.auth.account(number);
        let subject = format!("$SYS.ACCOUNT.{account}.CONNECT");
        let Some((system, block, state)) = self.listens(&subject) else { return };
        let label = self.auth.account_label(number);
        let Some(conn) = self.fabric.conn(key) else { return };
        let user = if conn.has_proved && conn.user.is_empty() { TOKEN_USER } else { &conn.user };
        let times = (state.time(), state.time_of(conn.start));
        let event = connect(&block, times, conn, (user, &account, &label));
        self.fabric.tell(system, subject.as_bytes(), &event);
    }

    /// A connection has ended. One that had not logged in belonged to nobody, which is the global account.
    pub(super) fn tell_gone(&mut self, key: u32, reason: CloseReason, was_connected: bool) {
        if reason == CloseReason::SlowConsumerPendingBytes || reason == CloseReason::SlowConsumerWriteDeadline
        {
            let account = self.fabric.conn(key).map_or(0, |conn| conn.account);
            if let Some(ledger) = self.fabric.ledger(account) {
                ledger.slow_consumers += 1;
            }
        }
        if !self.is_heard() {
            return;
        }
        let number = match self.fabric.conn(key) {
            Some(conn) if was_connected => conn.account,
            _ => 0,
        };
        if was_connected {
            self.tell_conns(number);
        }
        if reason == CloseReason::AuthenticationFailure {
            let id = self.info.server_id.clone();
            self.tell_disconnect(format!("$SYS.SERVER.{id}.CLIENT.AUTH.ERR"), key, number, reason);
        }
        let account = self.auth.account(number);
        self.tell_disconnect(format!("$SYS.ACCOUNT.{account}.DISCONNECT"), key, number, reason);
    }

    fn tell_disconnect(&mut self, subject: String, key: u32, number: u32, reason: CloseReason) {
        let Some((system, block, state)) = self.listens(&subject) else { return };
        let (account, label) = (self.auth.account(number), self.auth.account_label(number));
        let Some(conn) = self.fabric.conn(key) else { return };
        let user = if conn.has_proved && conn.user.is_empty() { TOKEN_USER } else { &conn.user };
        let times = (state.time(), state.time_of(conn.start));
        let end = Disconnect { names: (user, &account, &label), reason: reason.to_string() };
        let event = disconnect(&block, times, conn, &end);
        self.fabric.tell(system, subject.as_bytes(), &event);
    }

    /// The number of connections of an account has changed. Nobody counts those of the global account.
    pub(super) fn tell_conns(&mut self, number: u32) {
        if number == 0 || !self.is_heard() {
            return;
        }
        let account = self.auth.account(number);
        let subjects =
            [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")];
        let mut event = None;
        for subject in subjects {
            let Some((system, block, state)) = self.listens(&subject) else { continue };
            let event = event.get_or_insert_with(|| self.conns(number).event(&block, state.time()));
            self.fabric.tell(system, subject.as_bytes(), event);
        }
    }

    /// What an account does.
    pub(super) fn account_figures(&self, number: u32) -> AccountFigures {
        let connections = self.members.count(number) as u64;
        AccountFigures { connections, ledger: self.fabric.ledger_of(number) }
    }

    fn conns(&self, number: u32) -> Conns {
        let figures = self.account_figures(number);
        let subscriptions = self.fabric.interest(number).map_or(0, |interest| interest.subscriptions);
        let (account, label) = (self.auth.account(number), self.auth.account_label(number));
        Conns::new(&account, &label, figures.connections, subscriptions, &figures.ledger)
    }

    /// When there is something to say; never, while nobody listens.
    pub(super) fn system_at(&self) -> Option<Instant> {
        self.is_heard().then(|| self.system.statsz_at.min(self.system.conns_at))
    }

    /// Says what is said regularly.
    pub(super) fn run_system(&mut self) {
        let now = self.fabric.now;
        if !self.is_heard() || now < self.system.statsz_at.min(self.system.conns_at) {
            return;
        }
        if now >= self.system.statsz_at {
            // Who comes after a long time without anybody waits for the next time, as if it had been said all along.
            let late = now - self.system.statsz_at;
            let is_on_time = late < HALF_PAUSE;
            self.system.statsz_pause = match is_on_time {
                true => (self.system.statsz_pause * 2).min(STATSZ),
                false => STATSZ,
            };
            let missed = u32::try_from(late.as_secs() / STATSZ.as_secs()).unwrap_or(0);
            self.system.statsz_at += self.system.statsz_pause + STATSZ * missed;
            if is_on_time {
                self.tell_statsz();
            }
        }
        if now >= self.system.conns_at {
            self.system.conns_at = now + CONNS;
            for number in 0..self.fabric.accounts() {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                if self.members.count(number) > 0 {
                    self.tell_conns(number);
                }
            }
        }
    }

    fn tell_statsz(&mut self) {
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.info.server_id);
        if let Some((system, ..)) = self.listens(&subject) {
            self.submit(system, subject.as_bytes(), What::Server(ServerRequest::Statsz), b"");
        }
    }

    /// The server sends its clients elsewhere.
    pub(super) fn tell_lame_duck(&mut self) {
        self.tell_own("LAMEDUCK");
    }

    /// The server ends.
    pub(super) fn tell_end(&mut self) {
        self.tell_own("SHUTDOWN");
    }

    fn tell_own(&mut self, what: &str) {
        let subject = format!("$SYS.SERVER.{}.{what}", self.info.server_id);
        if let Some((system, block, state)) = self.listens(&subject) {
            self.fabric.tell(system, subject.as_bytes(), &block.alone(state.time()));
        }
    }
}
