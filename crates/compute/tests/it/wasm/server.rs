//! A small web server on loopback for guests.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{AppendHeaders, Response};
use axum::routing::any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Server {
    pub(super) port: u16,
    /// Requests that arrived.
    pub(super) hits: Arc<AtomicUsize>,
}

/// `/` says hello, `/echo` tells what it got, `/to?there=` redirects, `/large?bytes=` is as large as asked, `/never`
/// never answers.
pub(super) async fn start() -> Server {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    let echo = async |method: Method, headers: HeaderMap, body: Bytes| {
        let header = |name: &str| headers.get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        format!("{method} host={} x-test={} body={body}", header("host"), header("x-test"))
    };
    let router = Router::new()
        .route(
            "/",
            any(async || (AppendHeaders([(HeaderName::from_static("x-served-by"), "test")]), "served")),
        )
        .route("/echo", any(echo))
        .route("/teapot", any(async || StatusCode::IM_A_TEAPOT))
        .route(
            "/to",
            any(async |Query(query): Query<HashMap<String, String>>| {
                (StatusCode::FOUND, [(header::LOCATION, query["there"].clone())], "elsewhere")
            }),
        )
        .route("/large", any(async |Query(query): Query<HashMap<String, usize>>| "x".repeat(query["bytes"])))
        .route("/never", any(std::future::pending::<Response>))
        .layer(axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            counter.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { port, hits }
}

impl Server {
    pub(super) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}
