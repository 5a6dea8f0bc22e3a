//! Accepts connections, a bounded number, and serves them with limits on slow and large requests.

use super::{Services, router};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Connections served at the same time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 4096;
/// Longest time to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Largest head of a request, bytes.
const MOST_HEAD: usize = 256 * 1024;
/// Longest wait for open requests at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// A listening server.
pub struct Running {
    /// The bound address.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes no more connections and waits a little for open requests.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // That the accepting task panicked would have been logged by the runtime; there is nothing left to stop.
        let _ = self.task.await;
    }
}

/// Starts to serve.
pub async fn start(options: ServerOptions, services: Services) -> Result<Running, Error> {
    let listener = TcpListener::bind(options.listen).await.map_err(|e| {
        let text = match e.kind() {
            std::io::ErrorKind::AddrInUse => format!("address http://{} is already in use", options.listen),
            _ => format!("address http://{} cannot be listened on: {e}", options.listen),
        };
        Error::new(code::CONFIGURATION_ERROR, text).component("APIServer").hint(
            "to resolve this, either:\n1. stop what uses the port\n2. use another port: -c API.Port=<port>, or for good: bacalhau config set API.Port=<port>",
        )
    })?;
    let addr = listener
        .local_addr()
        .map_err(|e| Error::new(code::INTERNAL_ERROR, format!("listening address is unknown: {e}")))?;
    let (stop, stopped) = watch::channel(false);
    let service = router(Arc::new(services));
    let task = tokio::spawn(accept(listener, service, stopped));
    Ok(Running { addr, stop, task })
}

async fn accept(listener: TcpListener, service: axum::Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop(&mut stopped) => break,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop(&mut stopped) => break,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = serve(stream, service.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most often too many open files: a moment later there may be room.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(LAST_REQUESTS, places.acquire_many(all)).await.is_err() {
        tracing::debug!("open connections were cut");
    }
}

async fn serve(stream: TcpStream, service: axum::Router, mut stopped: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is slower than it could be");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across other awaits, so it ends here.
    let _ = stopped.wait_for(|stop| *stop).await;
}
