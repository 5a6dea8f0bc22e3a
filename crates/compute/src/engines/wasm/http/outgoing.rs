//! `wasi:http/outgoing-handler`: requests of components.
//!
//! The guest follows redirects itself, so each step is checked like any request.

use super::{Http, Refusal};
use futures_util::stream;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use hyper::{Request, Response};
use std::error::Error as StdError;
use std::io;
use std::time::Duration;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody as WasiBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks};

/// Time to wait for the first and for further bytes of a response unless the guest says: what wasmtime itself takes.
const WAIT: Duration = Duration::from_secs(600);

/// Answers how a guest's requests are sent.
pub(crate) struct Hooks {
    pub(crate) http: Http,
}

/// Ends when the connection's work is done; the client works on it by itself.
type Work = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Work), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Work,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let (http, options) = (self.http.clone(), options.unwrap_or_default());
        Box::new(async move {
            let response = send(&http, request, options).await?;
            Ok((response, Box::new(async { Ok(()) }) as Work))
        })
    }
}

async fn send(
    http: &Http,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let connect_and_answer = options
        .connect_timeout
        .map(|connect| connect.saturating_add(options.first_byte_timeout.unwrap_or(WAIT)))
        .or(options.first_byte_timeout)
        .unwrap_or(WAIT);
    let request = request_of(request)?;
    let answer = tokio::time::timeout(connect_and_answer, http.send(request)).await;
    let (response, permit) = answer.map_err(|_| Error::HttpResponseTimeout)?.map_err(refused)?;

    let (parts, body) = hyper::Response::<reqwest::Body>::from(response).into_parts();
    let between = options.between_bytes_timeout.unwrap_or(WAIT);
    let frames = stream::unfold(Some((body, permit)), move |open| async move {
        let (mut body, permit) = open?;
        match tokio::time::timeout(between, body.frame()).await {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some((body, permit)))),
            Ok(Some(Err(error))) => Some((Err(failed(&error)), None)),
            Err(_) => Some((Err(Error::ConnectionReadTimeout), None)),
        }
    });
    Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()))
}

/// The request as the client wants it. Trailers are not sent.
fn request_of(request: Request<WasiBody>) -> Result<reqwest::Request, Error> {
    let (parts, body) = request.into_parts();
    let is_empty = hyper::body::Body::is_end_stream(&body);
    let body = if is_empty {
        reqwest::Body::default()
    } else {
        reqwest::Body::wrap_stream(BodyDataStream::new(body))
    };
    reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(|_| Error::HttpRequestUriInvalid)
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotAllowed => Error::HttpRequestDenied,
        Refusal::TooMany => Error::ConnectionLimitReached,
        Refusal::Setup(reason) => {
            tracing::warn!(%reason, "guests have no HTTP");
            Error::ConfigurationError
        }
        Refusal::Failed(error) => failed(&error),
    }
}

/// The code that says best what happened. Details stay here: they may name hosts of the operator's network.
fn failed(error: &reqwest::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<rustls::Error>() {
            return tls(inner.downcast_ref());
        }
        if let Some(Error::HttpRequestBodySize(size)) = inner.downcast_ref() {
            return Error::HttpRequestBodySize(*size);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if let Some(rustls) = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                return tls(Some(rustls));
            }
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                    return Error::ConnectionTerminated;
                }
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return Error::DestinationUnavailable;
                }
                _ => {}
            }
        }
        cause = inner.source();
    }
    if error.is_connect() && error.is_timeout() {
        Error::ConnectionTimeout
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_connect() {
        Error::DnsError { rcode: None, info_code: None }
    } else if error.is_body() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}

fn tls(error: Option<&rustls::Error>) -> Error {
    match error {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}
