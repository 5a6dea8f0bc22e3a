//! Starting and stopping, and the handle that the embedder holds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mio::{Poll, Waker};

use crate::auth::Authenticator;
use crate::auth::operator::Trust;
use crate::auth::replaced::Replaced;
use crate::error::Error;
use crate::hub::{Hub, LocalLimits, lock};
use crate::local::LocalClient;
use crate::monitor::{Bound, Monitor, State};
use crate::options::Options;
use crate::reactor::{Door, DoorTls, Reactor, WAKER};
use crate::reload::{self, Change, Reloaded, Users};
use crate::stats::Stats;
use crate::users::NkeyUser;

/// A running server. Dropping it shuts it down.
pub struct Server {
    /// Of the doors.
    addrs: Vec<SocketAddr>,
    current: Mutex<Current>,
    monitor_addr: Option<SocketAddr>,
    hub: Arc<Hub>,
    /// What monitoring and `$SYS` tell.
    documents: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    monitor: Mutex<Option<Monitor>>,
}

/// What holds now. Whoever changes it holds the lock until the loop has been told, so that of two changes the later one
/// counts here and there.
struct Current {
    options: Arc<Options>,
    /// In operator mode.
    trust: Option<Arc<Trust>>,
}

impl Server {
    /// Opens the listening sockets and starts the server's threads. When this returns, clients can connect.
    ///
    /// # Errors
    /// [`Error::Option`] for settings that cannot work, [`Error::Listen`] if the address is taken or not ours,
    /// [`Error::Start`] if the system gives no event queue or thread.
    pub fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let auth = Authenticator::new(&options)?;
        let trust = auth.trust().cloned();
        let system_account = auth.system_account().map(|number| auth.account(number));
        let options = Arc::new(options);
        let doors = Door::all(&options)?;
        let addrs: Vec<SocketAddr> = doors.iter().map(|door| door.addr).collect();
        let monitor = options.monitor.as_ref().map(Bound::open).transpose()?;
        let poll = Poll::new().map_err(Error::Start)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(Error::Start)?;
        let hub = Arc::new(Hub::new(waker, LocalLimits::new(&options)));
        let mut reactor =
            Reactor::new(poll, doors, options.clone(), auth, hub.clone()).map_err(Error::Start)?;
        let port = addrs.first().map_or(0, SocketAddr::port);
        let http_port = monitor.as_ref().map_or(0, Bound::port);
        let identity = reactor.identity();
        let state = Arc::new(State::new(&options, identity, port, http_port, system_account, hub.clone()));
        reactor.set_documents(state.clone());
        let monitor = monitor.map(|bound| Monitor::start(bound, state.clone())).transpose()?;
        let thread = std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || reactor.run())
            .map_err(Error::Start)?;
        Ok(Self {
            addrs,
            current: Mutex::new(Current { options, trust }),
            monitor_addr: monitor.as_ref().map(Monitor::addr),
            hub,
            documents: state,
            thread: Mutex::new(Some(thread)),
            monitor: Mutex::new(monitor),
        })
    }

    /// The address really listened on for ordinary clients.
    pub fn addr(&self) -> SocketAddr {
        self.addrs.first().copied().unwrap_or(([0, 0, 0, 0], 0).into())
    }

    /// The address really listened on for WebSocket clients, if any.
    pub fn websocket_addr(&self) -> Option<SocketAddr> {
        self.addrs.get(1).copied()
    }

    /// The address that monitoring is really served on, if it is.
    pub fn monitor_addr(&self) -> Option<SocketAddr> {
        self.monitor_addr
    }

    /// A new in-process client.
    pub fn local_client(&self, name: &str) -> LocalClient {
        LocalClient::new(self.hub.clone(), name)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.hub.stats.snapshot()
    }

    /// The settings that hold now, with what [`set_nkeys`](Self::set_nkeys), [`update_account`](Self::update_account) and
    /// [`set_connect_urls`](Self::set_connect_urls) have changed.
    pub fn options(&self) -> Options {
        (*lock(&self.current).options).clone()
    }

    /// Takes over other settings while connections stay open, as the NATS server does when its configuration is
    /// reloaded: users and what they may do, accounts, token, TLS with certificates that are read again, documents of
    /// accounts in operator mode, announced addresses, `max_connections`, `max_payload`, `max_control_line`,
    /// `max_buffered`, `max_total_subscriptions`, times of PING, log-in and writing. All of it takes effect at once, in
    /// the next round of the loop and before anything that arrives after this call.
    ///
    /// `options` replaces all that was set before, also by `set_nkeys` and the like; to change a part, begin with
    /// [`options`](Self::options):
    ///
    /// ```
    /// # use bacalhau_nats_server::{Error, Options, Server};
    /// # fn main() -> Result<(), Error> {
    /// # let server = Server::start(Options { host: "127.0.0.1".into(), port: 0, ..Options::default() })?;
    /// let done = server.reload(Options { max_connections: 100, ..server.options() })?;
    /// assert_eq!(done.changes[0].to_string(), "max_connections = 100");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Connections whose password or token is another one get `Authorization Violation`; those whose user is gone or in
    /// another account are closed without a word; the others get their new permissions, and lose the subscriptions that
    /// these do not allow. If there are more than `max_connections`, those who came last are closed.
    ///
    /// # Errors
    /// [`Error::NotReloadable`] with the setting that cannot change while the server runs, [`Error::Option`] for settings
    /// that cannot work: nothing has changed then. [`Error::Closed`].
    pub fn reload(&self, options: Options) -> Result<Reloaded, Error> {
        let mut current = lock(&self.current);
        options.check()?;
        let changes = reload::compare(&current.options, &options)?;
        let doors = Door::certificates(&options)?;
        self.take_over(&mut current, options, doors, Some(false))?;
        self.documents.follow(&current.options);
        Ok(Reloaded { changes })
    }

    /// Replaces the addresses announced to clients, and tells those connected that understand it.
    pub fn set_connect_urls(&self, urls: Vec<String>) {
        let mut current = lock(&self.current);
        let options = Options { connect_urls: urls, ..(*current.options).clone() };
        // Without users to judge it fails only after the end, when nobody is there to be told.
        let _ = self.take_over(&mut current, options, Vec::new(), None);
    }

    /// Reads the certificates and keys again, for connections from now on; those that are open stay.
    ///
    /// # Errors
    /// [`Error::Option`] when they cannot be used; the former ones stay.
    pub fn reload_tls(&self) -> Result<(), Error> {
        let mut current = lock(&self.current);
        let options = (*current.options).clone();
        let doors = Door::certificates(&options)?;
        // The certificates are good; after the end nobody needs them.
        let _ = self.take_over(&mut current, options, doors, None);
        Ok(())
    }

    /// Replaces the users with nkeys. Connections of those who are not among them any more end. From now on everybody
    /// must show credentials, also when the list is empty: who was the last to lose his key must not come back without
    /// one. So connections of those who have shown none end too. Those who stay get their new permissions. It takes
    /// effect in the next round of the loop, before anything that arrives after this call.
    ///
    /// # Errors
    /// [`Error::Option`] for keys or permissions that cannot be used, and with an operator; the former users stay then.
    /// [`Error::Closed`].
    pub fn set_nkeys(&self, nkeys: Vec<NkeyUser>) -> Result<(), Error> {
        let mut current = lock(&self.current);
        let options = Options { nkeys, closed: true, ..(*current.options).clone() };
        options.check()?;
        self.take_over(&mut current, options, Vec::new(), Some(true))
    }

    /// Hands settings that have been checked to the loop. `users`: users are judged anew, and those who may not stay are
    /// told that they were revoked, or not.
    fn take_over(
        &self,
        current: &mut Current,
        options: Options,
        doors: Vec<(usize, DoorTls)>,
        users: Option<bool>,
    ) -> Result<(), Error> {
        let mut trust = current.trust.clone();
        let users = match users {
            Some(revoked) => {
                let auth = Authenticator::new(&options)?;
                trust = auth.trust().cloned();
                let replaced = Replaced::between(&current.options, &options);
                Some(Users { auth, replaced, revoked })
            }
            None => None,
        };
        let options = Arc::new(options);
        match self.hub.change(Change { options: options.clone(), doors, users }) {
            true => {
                *current = Current { options, trust };
                Ok(())
            }
            false => Err(Error::Closed),
        }
    }

    /// Lets nobody in any more, tells the clients to go elsewhere, closes their connections one after the other over
    /// `lame_duck_duration` and then ends the loop. Returns at once; see [`wait`](Self::wait).
    pub fn lame_duck(&self) {
        self.hub.lame_duck();
    }

    /// Waits until the server has ended by itself, after [`lame_duck`](Self::lame_duck), or because another thread shut
    /// it down.
    pub fn wait(&self) {
        let thread = lock(&self.thread).take();
        self.join(thread);
    }

    /// Operator mode: adds an account to the resolver, or replaces what is known of it. Its connected users are judged
    /// anew: those who are revoked, whose signing key is gone or who may now do something else are cut off, and come
    /// back with what they may do then. Of several calls for one account the last counts.
    ///
    /// # Errors
    /// [`Error::Account`] if there is no operator, it has not signed this JWT, or it cannot be used; [`Error::Closed`].
    pub fn update_account(&self, jwt: &str) -> Result<(), Error> {
        let refused = |problem| Error::Account { problem };
        let mut current = lock(&self.current);
        let trust = current
            .trust
            .as_ref()
            .ok_or_else(|| refused("this server has no operator; set the option `operator`".to_owned()))?;
        let account = trust.account(jwt).map_err(refused)?;
        let mut options = (*current.options).clone();
        if let Some(operator) = &mut options.operator {
            operator.resolver.insert(account.key().to_owned(), jwt.to_owned());
        }
        match self.hub.put_account(account) {
            true => {
                current.options = Arc::new(options);
                Ok(())
            }
            false => Err(Error::Closed),
        }
    }

    /// Sends what is queued (sockets get up to 100 ms to take it), closes all connections and ends the thread. Local
    /// subscriptions end with [`SubscriptionEnd::Closed`](crate::SubscriptionEnd::Closed). Further calls do nothing.
    pub fn shutdown(&self) {
        self.hub.stop();
        let monitor = lock(&self.monitor).take();
        drop(monitor);
        let thread = lock(&self.thread).take();
        self.join(thread);
    }

    fn join(&self, thread: Option<JoinHandle<()>>) {
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("NATS server: the loop thread had panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addrs", &self.addrs).finish_non_exhaustive()
    }
}
