//! Starting and stopping, and the handle that the embedder holds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mio::{Poll, Waker};

use crate::auth::Authenticator;
use crate::auth::operator::Trust;
use crate::error::Error;
use crate::hub::{Hub, LocalLimits, lock};
use crate::local::LocalClient;
use crate::monitor::{Bound, Monitor, State};
use crate::options::Options;
use crate::reactor::{Door, Reactor, WAKER};
use crate::stats::Stats;
use crate::users::NkeyUser;

/// A running server. Dropping it shuts it down.
pub struct Server {
    /// Of the doors.
    addrs: Vec<SocketAddr>,
    /// To read certificates again.
    options: Arc<Options>,
    monitor_addr: Option<SocketAddr>,
    hub: Arc<Hub>,
    /// In operator mode.
    trust: Option<Arc<Trust>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    monitor: Mutex<Option<Monitor>>,
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
        let limits = LocalLimits {
            max_payload: options.max_payload,
            // Room for the verb, the sid, a reply of the same length and the sizes is the client's business; half a line
            // is what a subject can have with a reply beside it.
            max_subject: options.max_control_line / 2,
            max_pending: options.max_pending,
            max_msgs: options.local_max_pending_msgs,
            max_buffered: options.max_buffered.max(options.max_pending),
        };
        let hub = Arc::new(Hub::new(waker, limits));
        let mut reactor =
            Reactor::new(poll, doors, options.clone(), auth, hub.clone()).map_err(Error::Start)?;
        let port = addrs.first().map_or(0, SocketAddr::port);
        let http_port = monitor.as_ref().map_or(0, Bound::port);
        let identity = reactor.identity();
        let state = Arc::new(State::new(&options, identity, port, http_port, system_account, hub.clone()));
        reactor.set_documents(state.clone());
        let monitor = monitor.map(|bound| Monitor::start(bound, state)).transpose()?;
        let thread = std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || reactor.run())
            .map_err(Error::Start)?;
        Ok(Self {
            addrs,
            options,
            monitor_addr: monitor.as_ref().map(Monitor::addr),
            hub,
            trust,
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

    /// Replaces the addresses announced to clients, and tells those connected that understand it.
    pub fn set_connect_urls(&self, urls: Vec<String>) {
        self.hub.set_connect_urls(urls);
    }

    /// Reads the certificates and keys again, for connections from now on; those that are open stay.
    ///
    /// # Errors
    /// [`Error::Option`] when they cannot be used; the former ones stay.
    pub fn reload_tls(&self) -> Result<(), Error> {
        self.hub.set_certificates(Door::certificates(&self.options)?);
        Ok(())
    }

    /// Replaces the users with nkeys. Connections of those who are not among them any more end. From now on everybody
    /// must show credentials, also when the list is empty: who was the last to lose his key must not come back without
    /// one. So connections of those who have shown none end too. It takes effect in the next round of the
    /// loop, before anything that arrives after this call.
    ///
    /// # Errors
    /// [`Error::Option`] for keys or permissions that cannot be used, and with an operator; the former users stay then.
    /// [`Error::Closed`].
    pub fn set_nkeys(&self, nkeys: Vec<NkeyUser>) -> Result<(), Error> {
        let options = Options { nkeys, closed: true, ..(*self.options).clone() };
        options.check()?;
        match self.hub.set_users(Authenticator::new(&options)?) {
            true => Ok(()),
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
        let trust = self
            .trust
            .as_ref()
            .ok_or_else(|| refused("this server has no operator; set the option `operator`".to_owned()))?;
        match self.hub.put_account(trust.account(jwt).map_err(refused)?) {
            true => Ok(()),
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
