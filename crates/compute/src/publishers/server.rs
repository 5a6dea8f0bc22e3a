//! Serves published archives over HTTP: `GET /<name>.tar.gz` of files that exist, and nothing else.
//!
//! No listing, no folders, no names that lead elsewhere. Too many clients wait their turn; none holds its place for ever.

use crate::logs::is_safe_name;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// Clients served at once; more wait to be accepted.
const MAX_CLIENTS: usize = 256;

/// A client must send its request within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is closed after this time, whatever it does; enough for a large result over a slow line.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

/// Bytes read from disk at once.
const CHUNK: usize = 64 * 1024;

/// Serves `folder` until `stop`.
pub(super) async fn serve(listener: TcpListener, folder: PathBuf, stop: CancellationToken) {
    let router = Router::new().route("/{name}", get(download)).with_state(Arc::new(folder));
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others must finish first.
                tracing::warn!(%error, "cannot accept a download");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // A client that goes away is its own affair.
                _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection) => {}
            }
            drop(permit);
        });
    }
}

async fn download(State(folder): State<Arc<PathBuf>>, UrlPath(name): UrlPath<String>) -> Response {
    let not_found = || (StatusCode::NOT_FOUND, "no such result\n").into_response();
    if !is_safe_name(&name) || !name.ends_with(".tar.gz") {
        return not_found();
    }
    let Ok(file) = tokio::fs::File::open(folder.join(&name)).await else { return not_found() };
    let length = match file.metadata().await {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => return not_found(),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, Body::from_stream(ReaderStream::with_capacity(file, CHUNK))).into_response()
}
