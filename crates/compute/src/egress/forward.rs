//! One request of a task: forwarded to a listed host, turned into a tunnel, or answered with the reason why not.

use super::answer::{answer, refused};
use super::dial::{dial_host, shortened};
use super::domains::Host;
use super::proxy::Shared;
use super::tunnel::{self, Slot};
use super::{dial, headers};
use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

/// Header bytes of a request or response at most.
pub(super) const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Headers of a request or response at most.
pub(super) const MAX_HEADERS: usize = 128;

/// Answers one request. `slot` takes the tunnel if it becomes one.
pub(super) async fn handle(shared: Arc<Shared>, slot: Slot, request: Request<Incoming>) -> Response<Body> {
    let wanted = match Wanted::read(&request) {
        Ok(wanted) => wanted,
        Err(text) => return answer(StatusCode::BAD_REQUEST, &text),
    };
    let stream = match dial_host(&shared.domains, &wanted.host, wanted.port).await {
        Ok(stream) => stream,
        Err(refusal) => {
            shared.note_refusal(&refusal);
            return refused(&refusal);
        }
    };
    shared.note_allowed();
    if request.method() == Method::CONNECT {
        tunnel::open(&slot, request, stream);
        return Response::new(Body::empty());
    }
    match exchange(&shared, wanted, request, stream).await {
        Ok(response) => response,
        Err(error) => answer(StatusCode::BAD_GATEWAY, &format!("the server broke off: {error}")),
    }
}

/// What a request is for.
struct Wanted {
    host: Host,
    port: u16,
}

impl Wanted {
    /// Reads the target, which alone decides; a `Host` header is not looked at.
    fn read(request: &Request<Incoming>) -> Result<Wanted, String> {
        let uri = request.uri();
        let (authority, default_port) = match (uri.scheme_str(), uri.authority()) {
            (None, Some(authority)) if request.method() == Method::CONNECT => (authority, None),
            (Some("http"), Some(authority)) if request.method() != Method::CONNECT => (authority, Some(80)),
            (Some(scheme), _) => {
                return Err(format!(
                    "this proxy forwards http and tunnels the rest with CONNECT, not \"{}\"",
                    shortened(scheme)
                ));
            }
            _ => {
                return Err(
                    "this is a proxy: ask it for a whole address such as http://example.com/".to_owned()
                );
            }
        };
        if authority.as_str().contains('@') {
            return Err("credentials belong into a header, not into the address".to_owned());
        }
        let port = port_of(authority, default_port)?;
        let host = Host::parse(authority.host())
            .ok_or_else(|| dial::Refusal::NotAHost(shortened(authority.host())).to_string())?;
        Ok(Wanted { host, port })
    }

    /// Value of the `Host` header.
    fn host_header(&self) -> Option<HeaderValue> {
        let text =
            if self.port == 80 { self.host.to_string() } else { format!("{}:{}", self.host, self.port) };
        HeaderValue::from_str(&text).ok()
    }
}

fn port_of(authority: &Authority, default: Option<u16>) -> Result<u16, String> {
    // An authority with something after the colon that is no port tells no port.
    let rest = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    match authority.port_u16() {
        Some(0) => Err("port 0 cannot be connected to".to_owned()),
        Some(port) => Ok(port),
        None if !rest.is_empty() && rest != ":" => {
            Err(format!("\"{}\" has no valid port", shortened(authority.as_str())))
        }
        None => default.ok_or_else(|| format!("\"{}\" has no port", shortened(authority.as_str()))),
    }
}

/// Sends the request over its own connection and streams the response back.
async fn exchange(
    shared: &Shared,
    wanted: Wanted,
    request: Request<Incoming>,
    stream: tokio::net::TcpStream,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let is_head = request.method() == Method::HEAD;
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    let host = wanted.host_header().ok_or("the host cannot be written into a header")?;
    headers::request(&mut parts.headers, host, shared.job_id.clone());

    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends with the response, and at the latest with the proxy.
    let stop = shared.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            // What went wrong the response tells.
            _ = connection => {}
        }
    });
    let response = sender.send_request(Request::from_parts(parts, Body::new(body))).await?;
    let (mut parts, body) = response.into_parts();
    let without_body = is_head || parts.status == StatusCode::NOT_MODIFIED;
    headers::response(&mut parts.headers, !without_body);
    Ok(Response::from_parts(parts, Body::new(body)))
}
