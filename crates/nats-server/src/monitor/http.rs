//! HTTP: a bounded number of connections with bounded heads and lifetimes, and what each path leads to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::params::Params;
use super::{State, accountz, connz, healthz, nothing, subsz, varz};

/// Connections at one time; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 64;
/// Largest head of a request, bytes; also the most that is buffered per connection.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// Time for the head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection gets no new request after this time ...
const LIFETIME: Duration = Duration::from_secs(60);
/// ... and is cut after this much more.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// How long a request may wait until others have been answered.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept (most often: no file descriptors left).
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of an answer handed over at a time, so that it counts as held until nearly all of it is written.
const PIECE: usize = 32 * 1024;

/// Answers by path.
#[derive(Default)]
pub(super) struct Counts([AtomicU64; PATHS.len()]);

/// The paths, in the order of [`Counts`].
const PATHS: [&str; 10] =
    ["/", "/varz", "/connz", "/subsz", "/healthz", "/routez", "/leafz", "/gatewayz", "/accountz", "/jsz"];

impl Counts {
    fn count(&self, path: &str) {
        let number = PATHS.iter().position(|known| *known == path);
        if let Some(count) = number.and_then(|number| self.0.get(number)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Those that were asked for.
    pub(super) fn seen(&self) -> BTreeMap<&'static str, u64> {
        let all = PATHS.iter().zip(&self.0).map(|(path, count)| (*path, count.load(Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

/// Serves until `stopped` says so; what is in work then is cut when the runtime goes.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        // An error means that whoever could stop us is gone.
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = accept(listener, state) => {}
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    connection(stream, state).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "NATS server: cannot accept a monitoring connection; trying again shortly");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, &request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    tokio::select! {
        // How it ended is the client's business: it has closed, sent no HTTP, or been too slow.
        _ = serving.as_mut() => return,
        () = sleep(LIFETIME) => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(LAST_ANSWER, serving).await;
}

async fn respond(state: &State, request: &Request<Incoming>) -> Response<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let params = Params::parse(request.uri().query());
    let known = path(&state.facts.http_base_path, request.uri().path());
    state.counts.count(known.unwrap_or_default());
    let result = match known {
        Some("/") => Ok(front_page(&state.facts.http_base_path)),
        Some("/varz") => json(&varz::varz(state), None),
        Some("/healthz") => {
            let (status, health) = healthz::healthz(state).await;
            compact(status, &health)
        }
        Some("/routez") => json(&nothing::routez(state), None),
        Some("/leafz") => json(&nothing::leafz(state), None),
        Some("/gatewayz") => json(&nothing::gatewayz(state), None),
        Some("/jsz") => json(&nothing::jsz(state), None),
        Some(listing) => list(state, listing, &params).await,
        None => Err(Failure { status: StatusCode::NOT_FOUND, text: "404 page not found".to_owned() }),
    };
    result.unwrap_or_else(|failure| plain(failure.status, failure.text))
}

/// The paths whose answers can be long: a few at a time.
async fn list(state: &State, path: &str, params: &Params) -> Result<Response<Answer>, Failure> {
    let turn = timeout(QUEUE_TIMEOUT, state.listings.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(Failure::unavailable("too many listings at one time; try again later"));
    };
    match path {
        "/connz" => json(&connz::connz(state, params).await?, Some(turn)),
        "/subsz" => json(&subsz::subsz(state, params).await?, Some(turn)),
        _ => json(&accountz::accountz(state, params).await?, Some(turn)),
    }
}

/// Which of [`PATHS`] a request means.
fn path(base: &str, path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix(base.trim_end_matches('/'))?;
    match rest {
        "" => Some("/"),
        "/subscriptionsz" => Some("/subsz"),
        rest => PATHS.iter().find(|known| **known == rest).copied(),
    }
}

fn front_page(base: &str) -> Response<Answer> {
    let base = escape(base.trim_end_matches('/'));
    let links: String =
        PATHS.iter().skip(1).map(|path| format!("<li><a href=\"{base}{path}\">{path}</a></li>\n")).collect();
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>NATS server</title></head>\n<body>\n\
         <h1>NATS server: monitoring</h1>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    );
    whole(StatusCode::OK, "text/html; charset=utf-8", page.into_bytes(), None)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn plain(status: StatusCode, text: String) -> Response<Answer> {
    let mut response = whole(status, "text/plain; charset=utf-8", text.into_bytes(), None);
    // The text may repeat what was asked; no browser should take it for anything else than text.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn json(value: &impl Serialize, turn: Option<OwnedSemaphorePermit>) -> Result<Response<Answer>, Failure> {
    Ok(shared(whole(StatusCode::OK, "application/json", written(serde_json::to_vec_pretty(value))?, turn)))
}

fn compact(status: StatusCode, value: &impl Serialize) -> Result<Response<Answer>, Failure> {
    Ok(shared(whole(status, "application/json", written(serde_json::to_vec(value))?, None)))
}

fn written(result: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    result.map_err(|error| Failure {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        text: format!("the answer cannot be written: {error}"),
    })
}

/// Pages from elsewhere may show it, as with other NATS servers.
fn shared(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn whole(
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
    turn: Option<OwnedSemaphorePermit>,
) -> Response<Answer> {
    let mut response = Response::new(Answer { rest: body.into(), _turn: turn });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The bytes of an answer. A listing's turn ends when it is written, or when its reader is gone.
struct Answer {
    rest: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.len().min(PIECE);
        Poll::Ready((next > 0).then(|| Ok(Frame::data(self.rest.split_to(next)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            (path("", "/"), path("", "/varz"), path("", "/subscriptionsz")),
            (Some("/"), Some("/varz"), Some("/subsz"))
        );
        assert_eq!((path("", "/varz/"), path("", "/nope"), path("", "//")), (None, None, None));
        assert_eq!(
            (path("/nats", "/nats"), path("/nats", "/nats/"), path("/nats/", "/nats/jsz")),
            (Some("/"), Some("/"), Some("/jsz"))
        );
        assert_eq!((path("/nats", "/varz"), path("/nats", "/natsvarz")), (None, None));
    }

    #[test]
    fn only_paths_that_exist_are_counted() {
        let counts = Counts::default();
        ["/varz", "/nope", "", "/varz"].into_iter().for_each(|path| counts.count(path));
        assert_eq!(counts.seen(), BTreeMap::from([("/varz", 2)]));
    }
}
