//! Accepts connections, a bounded number, and serves them with limits on slow and large requests.

use super::headers;
use super::options::{Limits, ServerOptions};
use super::rate::RateLimiter;
use super::stall::Stalling;
use super::{AuthConfig, Parts, Peer, Services, Shared, router};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Largest head of a request, bytes; also the most that is buffered per connection.
const MOST_HEAD: usize = 64 * 1024;
/// Before the next try when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// How far the server is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Requests in work are finished, nothing new is taken.
    Draining,
    /// What is still open is cut.
    Over,
}

/// A server that does not listen yet.
pub struct Server {
    parts: Parts,
    metrics: bool,
    limits: Limits,
    auth: AuthConfig,
}

/// A listening server. Dropping it cuts all connections.
pub struct Running {
    /// The bound address.
    pub addr: SocketAddr,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

/// Starts to serve everybody, with the usual limits.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(options: ServerOptions, services: Services) -> Result<Running, Error> {
    let metrics = services.metrics;
    Server::new(services.into()).metrics(metrics).start(options).await
}

impl Server {
    /// A server for everybody, with the usual limits.
    pub fn new(parts: Parts) -> Server {
        Server { parts, metrics: true, limits: Limits::default(), auth: AuthConfig::default() }
    }

    /// Whether figures for Prometheus are served, as they are by default.
    #[must_use]
    pub fn metrics(mut self, served: bool) -> Server {
        self.metrics = served;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Server {
        self.limits = limits;
        self
    }

    /// Sets who may do what.
    #[must_use]
    pub fn auth(mut self, auth: AuthConfig) -> Server {
        self.auth = auth;
        self
    }

    /// Starts to serve.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(self, options: ServerOptions) -> Result<Running, Error> {
        let listener = bind(options).await.map_err(|e| in_the_way(&options, &e))?;
        let addr = listener
            .local_addr()
            .map_err(|e| Error::new(code::INTERNAL_ERROR, format!("listening address is unknown: {e}")))?;
        let (phase, reached) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
            server_headers: headers::of_server(&self.parts.version),
            parts: self.parts,
            metrics: self.metrics,
            limits: self.limits,
            auth: self.auth,
            rate: RateLimiter::new(self.limits.rate),
            reads: Arc::new(Semaphore::new(self.limits.reads)),
            long_reads: Arc::new(Semaphore::new(self.limits.long_reads)),
            streams: Arc::new(Semaphore::new(self.limits.log_streams)),
            bodies: Arc::new(Semaphore::new(self.limits.all_bodies / 1024)),
            phase: reached,
        });
        let task = tokio::spawn(accept(listener, shared));
        Ok(Running { addr, phase, task })
    }
}

async fn bind(options: ServerOptions) -> std::io::Result<TcpListener> {
    match TcpListener::bind(options.listen).await {
        Err(error) if options.port_may_change && error.kind() == std::io::ErrorKind::AddrInUse => {
            let port = options.listen.port();
            tracing::info!("port {port} is in use, the API takes a free one; set API.Port to choose");
            TcpListener::bind((options.listen.ip(), 0)).await
        }
        bound => bound,
    }
}

fn in_the_way(options: &ServerOptions, error: &std::io::Error) -> Error {
    let text = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("address http://{} is already in use", options.listen),
        _ => format!("address http://{} cannot be listened on: {error}", options.listen),
    };
    Error::new(code::CONFIGURATION_ERROR, text).component("APIServer").hint(
        "to resolve this, either:\n1. stop what uses the port\n2. use another port: -c API.Port=<port>, or for good: bacalhau config set API.Port=<port>",
    )
}

impl Running {
    /// Takes no more connections and waits a little for open requests and log streams.
    pub async fn shutdown(self) {
        self.phase.send_replace(Phase::Draining);
        // That the accepting task panicked would have been logged by the runtime; there is nothing left to stop.
        let _ = self.task.await;
        self.phase.send_replace(Phase::Over);
    }
}

async fn accept(listener: TcpListener, app: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(app.limits.connections));
    let service = router(Arc::clone(&app));
    let mut phase = app.phase.clone();
    let mut failing = false;
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = reached(&mut phase, Phase::Draining) => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(&mut phase, Phase::Draining) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let connection = serve(stream, peer, service.clone(), Arc::clone(&app));
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most often too many open files: a moment later there may be room. One line tells it.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async {
        for (all, permits) in [(&places, app.limits.connections), (&app.streams, app.limits.log_streams)] {
            // Only a closed semaphore is an error, and nobody closes these.
            let _ = all.acquire_many(u32::try_from(permits).unwrap_or(u32::MAX)).await;
        }
    };
    if tokio::time::timeout(app.limits.drain, drained).await.is_err() {
        tracing::debug!("connections that are still open are cut");
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, service: axum::Router, app: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is slower than it could be");
    }
    let routes = TowerToHyperService::new(service);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.limits.head_time)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream, app.limits.stalled_write)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut phase = app.phase.clone();
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = reached(&mut phase, Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = reached(&mut phase, Phase::Over) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended with an error");
    }
}

/// Waits until the server is that far, or dropped.
pub(super) async fn reached(phase: &mut watch::Receiver<Phase>, point: Phase) {
    // The guard inside the result must not live across other awaits, so it ends here.
    let _ = phase.wait_for(|phase| *phase >= point).await;
}
