//! The listeners, and what each asks of those who come in.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustls::ServerConfig;

use crate::certs;
use crate::error::Error;
use crate::options::{HandshakeFirst, Options, TlsOptions};
use crate::transport::web::Origins;

/// Doors at most; their tokens are the highest below the bell's.
const MAX_DOORS: usize = 8;
/// Token of the first door; the others are below it.
const FIRST: usize = usize::MAX - 1;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 65_535;

/// Encryption of a listener: its settings, and what was read from its files. `None`: there is none.
pub(crate) type DoorTls = Option<(TlsOptions, Arc<ServerConfig>)>;

/// A listener.
pub(crate) struct Door {
    /// `None` once nobody may come in any more.
    pub(crate) listener: Option<mio::net::TcpListener>,
    pub(crate) addr: SocketAddr,
    /// There may be connections to accept.
    pub(crate) ready: bool,
    /// But not before this time.
    pub(crate) not_before: Option<Instant>,
    pub(crate) tls: DoorTls,
    /// NATS inside WebSocket frames: which pages may connect, and the time for their HTTP request.
    pub(crate) web: Option<(Origins, Duration)>,
}

impl Door {
    /// All doors that the options ask for; the first is that of ordinary clients.
    ///
    /// # Errors
    /// [`Error::Listen`] for a taken address, [`Error::Option`] for certificates that cannot be used.
    pub(crate) fn all(options: &Options) -> Result<Vec<Door>, Error> {
        let mut doors = vec![Door::open(&options.host, options.port, "tls", options.tls.as_ref())?];
        if let Some(web) = &options.websocket {
            let mut door = Door::open(&web.host, web.port, "websocket.tls", web.tls.as_ref())?;
            door.web = Some((Origins::new(web), web.handshake_timeout));
            doors.push(door);
        }
        Ok(doors)
    }

    fn open(host: &str, port: u16, option: &'static str, tls: Option<&TlsOptions>) -> Result<Door, Error> {
        let failed = |source| Error::Listen { address: format!("{host}:{port}"), source };
        let tls = Door::encryption(option, tls)?;
        let listener = TcpListener::bind((host, port)).map_err(failed)?;
        // The library's own backlog is short, and when it overflows the kernel keeps no trace of those who wait: they
        // would wait for INFO for ever. The kernel cuts this down to what it allows.
        rustix::net::listen(&listener, BACKLOG).map_err(|errno| failed(errno.into()))?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let listener = Some(mio::net::TcpListener::from_std(listener));
        Ok(Door { listener, addr, ready: false, not_before: None, tls, web: None })
    }

    /// Lets the poll watch it as door `number`.
    pub(crate) fn register(&mut self, number: usize, registry: &Registry) -> std::io::Result<()> {
        let Some(listener) = &mut self.listener else { return Ok(()) };
        registry.register(listener, Token(FIRST - number), Interest::READABLE)
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&mut self, registry: &Registry) {
        self.ready = false;
        if let Some(mut listener) = self.listener.take() {
            // Dropping it closes it; deregistering first only keeps stale events away, so its failure is harmless.
            let _ = registry.deregister(&mut listener);
        }
    }

    /// The number of the door with this token, if it is one.
    pub(crate) fn number(token: Token) -> Option<usize> {
        FIRST.checked_sub(token.0).filter(|number| *number < MAX_DOORS)
    }

    fn encryption(option: &'static str, tls: Option<&TlsOptions>) -> Result<DoorTls, Error> {
        tls.map(|tls| Ok((tls.clone(), certs::server_config(option, tls)?))).transpose()
    }

    /// The encryption of all doors, by number, with certificates that are read now.
    ///
    /// # Errors
    /// [`Error::Option`] for certificates that cannot be used.
    pub(crate) fn certificates(options: &Options) -> Result<Vec<(usize, DoorTls)>, Error> {
        let mut doors = vec![(0, Door::encryption("tls", options.tls.as_ref())?)];
        if let Some(web) = &options.websocket {
            doors.push((1, Door::encryption("websocket.tls", web.tls.as_ref())?));
        }
        Ok(doors)
    }

    /// Must clients encrypt?
    pub(crate) fn requires_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|(options, _)| !options.allow_non_tls)
    }

    /// Is INFO the first thing on a connection, in the clear?
    pub(crate) fn speaks_first(&self) -> bool {
        let first = |(tls, _): &(TlsOptions, _)| tls.handshake_first == HandshakeFirst::Never;
        self.web.is_none() && self.tls.as_ref().is_none_or(first)
    }
}
