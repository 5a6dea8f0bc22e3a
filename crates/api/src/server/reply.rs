//! Answers: JSON as Go writes it, errors to be wrapped by the middleware, redirects.

use super::envelope;
use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde::Serialize;

/// What a handler gives back.
pub(super) type Answer = Result<Json, Failure>;

/// A JSON body, encoded.
pub(super) struct Json(Vec<u8>);

impl Json {
    /// Encodes a value as Go's server does: HTML-escaped, one newline at the end.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Answer {
        Ok(Json(line(bacalhau_model::json::to_vec(value)?)))
    }

    /// The same on a thread that may take its time, for long lists.
    pub(super) async fn of_many<T: Serialize + Send + 'static>(value: T) -> Answer {
        let encoded = tokio::task::spawn_blocking(move || Json::of(&value)).await;
        encoded.map_err(|_| envelope::internal())?
    }

    /// Without HTML escapes, so that signed links stay readable.
    pub(super) fn unescaped<T: Serialize + ?Sized>(value: &T) -> Answer {
        Ok(Json(line(serde_json::to_vec(value)?)))
    }
}

fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, self.0)
    }
}

/// Encodes a body of plain texts and numbers, which cannot fail; a bug there would give an empty one.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    line(bacalhau_model::json::to_vec(value).unwrap_or_default())
}

/// A response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error on its way to the middleware, which knows the request's ID and writes the envelope.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        tracing::error!(%error, "an answer cannot be encoded");
        Failure(envelope::internal())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// 400 with a text of the framework's kind.
pub(super) fn bad_request(message: impl Into<String>) -> Failure {
    Failure(Error::new(code::INTERNAL_ERROR, message).component("APIServer").status(400))
}

/// The answer to everything that is no route.
pub(super) fn unknown_route() -> Failure {
    Failure(envelope::unknown_route())
}

/// The same as a handler.
pub(super) async fn fallback() -> Failure {
    unknown_route()
}

/// Where a short path leads.
pub(super) struct Redirect(&'static str);

/// The redirect at this path, if there is one.
pub(super) fn redirect_of(path: &str) -> Option<Redirect> {
    match path {
        "/" | "/version" => Some(Redirect("/api/v1/agent/version")),
        "/livez" => Some(Redirect("/api/v1/agent/alive")),
        _ => None,
    }
}

impl Redirect {
    /// 301, for GET only.
    pub(super) fn response(&self, method: &Method) -> Response {
        if method == Method::GET {
            return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, self.0)]).into_response();
        }
        let error = Error::new(code::INTERNAL_ERROR, "Method Not Allowed").component("APIServer").status(405);
        let mut response = Failure(error).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("OPTIONS, GET"));
        response
    }
}

/// Handler of the short paths.
pub(super) async fn redirect(method: Method, uri: axum::http::Uri) -> Response {
    redirect_of(uri.path()).map_or_else(|| unknown_route().into_response(), |to| to.response(&method))
}
