//! The proxy of one execution: who may connect, how many, and its end.

use super::activity::{Activity, Watched};
use super::dial::Refusal;
use super::domains::DomainList;
use super::forward::{self, MAX_HEADER_BYTES, MAX_HEADERS};
use super::tunnel::Slot;
use crate::accept::accept;
use axum::http::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connections of one task at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// A request's headers must arrive within this time.
const HEADER_TIME: Duration = Duration::from_secs(60);

/// A connection on which nothing moves for this long is closed. Servers may think long before they answer.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// Whom a proxy serves.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Told to servers in the header `X-Bacalhau-Job-ID`.
    pub job_id: String,
    /// Named in the node's log.
    pub execution_id: String,
}

/// What a proxy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and tunnels that were let through.
    pub allowed: u64,
    /// Those that the list does not allow.
    pub denied: u64,
}

/// A running proxy. Dropped, it stops listening and cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What all connections need.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) domains: DomainList,
    pub(super) job_id: Option<HeaderValue>,
    pub(super) stop: CancellationToken,
    execution_id: String,
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of `listen`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: IpAddr, domains: DomainList, names: Names) -> io::Result<Proxy> {
        Proxy::serve(TcpListener::bind(SocketAddr::new(listen, 0)).await?, domains, names)
    }

    /// Serves an open socket, such as one of [`super::listen_inside`].
    ///
    /// # Errors
    /// The socket has no address.
    pub fn serve(listener: TcpListener, domains: DomainList, names: Names) -> io::Result<Proxy> {
        let stop = CancellationToken::new();
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            domains,
            job_id: HeaderValue::from_str(&names.job_id).ok().filter(|id| !id.is_empty()),
            stop: stop.clone(),
            execution_id: names.execution_id,
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        });
        let who = format!("the egress proxy of execution {}", shared.execution_id);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let all = Arc::clone(&shared);
        tokio::spawn(accept(listener, room, stop.clone(), who, move |stream| {
            let shared = Arc::clone(&all);
            async move {
                let activity = Activity::default();
                tokio::select! {
                    () = activity.idle(IDLE) => {}
                    () = connection(stream, &activity, &shared) => {}
                }
            }
        }));
        Ok(Proxy { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens, as seen from where its socket was made.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// See [`variables`].
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(self.address)
    }

    /// What it did until now.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}

/// The variables that lead programs to a proxy. Bacalhau 1.9 sets the two in lower case; some programs know only the
/// other spelling.
pub fn variables(address: SocketAddr) -> Vec<(String, String)> {
    let url = format!("http://{address}");
    ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"]
        .map(|name| (name.to_owned(), url.clone()))
        .into()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Counts { allowed, denied } = self.counts();
        let execution = &self.shared.execution_id;
        tracing::debug!(%execution, allowed, denied, "egress proxy ends");
    }
}

impl Shared {
    fn counts(&self) -> Counts {
        Counts { allowed: self.allowed.load(Ordering::Relaxed), denied: self.denied.load(Ordering::Relaxed) }
    }

    pub(super) fn note_allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_refusal(&self, refusal: &Refusal) {
        let execution = &self.execution_id;
        if refusal.is_denial() {
            let denied = self.denied.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            tracing::debug!(%execution, denied, %refusal, "egress denied");
        } else {
            tracing::debug!(%execution, %refusal, "egress failed");
        }
    }
}

/// One connection of the task: requests one after another, perhaps a tunnel at its end.
async fn connection(stream: TcpStream, activity: &Activity, shared: &Arc<Shared>) {
    let slot = Slot::default();
    let service = service_fn(|request| {
        let answered = forward::handle(Arc::clone(shared), slot.clone(), request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let io = TokioIo::new(Watched { stream, activity: activity.clone() });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(io, service)
        .with_upgrades()
        .await;
    // A task that breaks off has its reasons; it can still have asked for a tunnel only if it did not.
    if served.is_ok() {
        slot.run().await;
    }
}
