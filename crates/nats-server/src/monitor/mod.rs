//! Monitoring over HTTP, with the paths and field names of the NATS server, so that the tools made for it can read this
//! one.
//!
//! A thread of its own serves HTTP. Counters it reads itself; tables it gets from the loop thread in small copies (see
//! `rows`) and does all sorting and writing. It only shows: nothing here changes the server, and no secret is shown.

mod accountz;
mod connz;
pub(crate) mod documents;
mod failure;
mod healthz;
mod http;
mod nothing;
pub(crate) mod params;
mod process;
pub(crate) mod rows;
mod subsz;
mod text;
mod varz;
mod walk;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{Mutex, Semaphore, watch};

use crate::error::Error;
use crate::hub::{Hub, lock};
use crate::options::{MonitorOptions, Options};

use text::Clock;
use varz::Facts;

/// Listings made at one time, and held in memory until they are read.
const LISTINGS: usize = 4;

/// What all requests share.
pub(crate) struct State {
    hub: Arc<Hub>,
    clock: Clock,
    /// As they were at the start; see `shown`.
    facts: Facts,
    /// After a reload.
    shown: std::sync::Mutex<Arc<Facts>>,
    meter: process::Meter,
    counts: http::Counts,
    listings: Arc<Semaphore>,
    /// One question at a time, so that several listings hold the loop up no longer than one.
    asking: Mutex<()>,
}

/// The listening socket, before anything is served.
pub(crate) struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

/// The running thread. Dropping it ends it.
pub(crate) struct Monitor {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// `identity` is the server's id and name, `port` that of the client listener, `http_port` that of monitoring, if any.
    /// `system_account` is the name of that.
    pub(crate) fn new(
        options: &Options,
        identity: (Arc<str>, Arc<str>),
        port: u16,
        http_port: u16,
        system_account: Option<Arc<str>>,
        hub: Arc<Hub>,
    ) -> State {
        let clock = Clock::new();
        let started = clock.started();
        let facts = Facts::new(options, identity, port, http_port, started.clone(), started, system_account);
        State {
            hub,
            facts: facts.clone(),
            shown: std::sync::Mutex::new(Arc::new(facts)),
            clock,
            meter: process::Meter::default(),
            counts: http::Counts::default(),
            listings: Arc::new(Semaphore::new(LISTINGS)),
            asking: Mutex::new(()),
        }
    }

    /// Shows other settings from now on.
    pub(crate) fn follow(&self, options: &Options) {
        let facts = self.facts.renewed(options, self.clock.now());
        *lock(&self.shown) = Arc::new(facts);
    }
}

impl Bound {
    /// # Errors
    /// [`Error::Listen`] if the address is taken or not ours.
    pub(crate) fn open(options: &MonitorOptions) -> Result<Bound, Error> {
        let failed = |source| Error::Listen { address: format!("{}:{}", options.host, options.port), source };
        let listener = TcpListener::bind((options.host.as_str(), options.port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, addr })
    }

    /// The port really listened on.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }
}

impl Monitor {
    /// Starts to serve.
    ///
    /// # Errors
    /// [`Error::Start`] if the system gives no event queue or thread.
    pub(crate) fn start(bound: Bound, state: Arc<State>) -> Result<Monitor, Error> {
        let Bound { listener, addr } = bound;
        let (stop, stopped) = watch::channel(false);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(Error::Start)?
        };
        let thread = std::thread::Builder::new()
            .name("nats-monitor".to_owned())
            .spawn(move || runtime.block_on(http::serve(listener, state, stopped)))
            .map_err(Error::Start)?;
        Ok(Monitor { addr, stop, thread: Some(thread) })
    }

    /// The address really listened on.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Monitor {
    /// Requests in work are cut.
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("NATS server: the monitoring thread had panicked");
        }
    }
}

/// Reads what a request asks for, as the listings do.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn try_parameters(query: &str) {
    let params = params::Params::parse(Some(query));
    let _ = (connz::Wanted::parse(&params).is_ok(), subsz::limit(&params).is_ok());
    assert!(params.len() <= query.split('&').count(), "more parameters than were given");
    assert!(params.text("acc").is_none_or(|text| !text.is_empty()), "an empty value is none");
}
