//! What a request says: query parameters and a JSON body, bound by the rules of Go's framework.
//!
//! Names match in any case. On GET and DELETE the body overrides the query; an empty parameter is the zero value.

use super::reply::{Failure, bad_request};
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use bacalhau_model::lenient;
use serde_json::{Map, Value};

/// Largest body, bytes.
pub(super) const MOST_BYTES: usize = 10_000_000;

/// A request's parameters.
pub(super) struct Input {
    query: Vec<(String, String)>,
    body: Map<String, Value>,
    /// Headers worth keeping for handlers.
    pub(super) headers: axum::http::HeaderMap,
}

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Input, Failure> {
        let query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        let headers = request.headers().clone();
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|n| n > MOST_BYTES as u64) {
            return Err(too_large());
        }
        let bytes = to_bytes(request.into_body(), MOST_BYTES).await.map_err(|_| too_large())?;
        let body = if bytes.is_empty() { Map::new() } else { body_of(&headers, &bytes)? };
        Ok(Input { query, body, headers })
    }
}

fn too_large() -> Failure {
    Failure(
        bacalhau_model::Error::new("InternalError", "Request Entity Too Large")
            .component("APIServer")
            .status(413),
    )
}

fn body_of(headers: &axum::http::HeaderMap, bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(bad_request("code=415, message=Unsupported Media Type"));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(bad_request("code=400, message=EOF, internal=EOF"));
    }
    match lenient::from_slice::<Value>(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => {
            Err(bad_request("code=400, message=Unmarshal type error: expected=object, got=another type"))
        }
        Err(error) => Err(bad_request(format!("code=400, message=Syntax error: {error}"))),
    }
}

impl Input {
    /// A member of the body.
    pub(super) fn body(&self, name: &str) -> Option<&Value> {
        let exact = self.body.get(name);
        exact.or_else(|| self.body.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }

    /// Takes a member out of the body.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let key = self.body.keys().find(|k| k.eq_ignore_ascii_case(name))?.clone();
        self.body.remove(&key)
    }

    fn raw(&self, name: &str) -> Option<&str> {
        let exact = self.query.iter().find(|(k, _)| k == name);
        exact
            .or_else(|| self.query.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)))
            .map(|(_, v)| v.as_str())
    }

    /// A text; empty when missing.
    pub(super) fn text(&self, name: &str) -> Result<String, Failure> {
        match self.body(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            None | Some(Value::Null) => Ok(self.raw(name).unwrap_or_default().to_owned()),
            Some(_) => Err(wrong_type(name, "string")),
        }
    }

    /// All values of a repeated parameter.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// A number from 0; 0 when missing.
    pub(super) fn number(&self, name: &str) -> Result<u64, Failure> {
        match self.body(name) {
            Some(Value::Number(number)) => number.as_u64().ok_or_else(|| wrong_type(name, "uint")),
            None | Some(Value::Null) => match self.raw(name) {
                None | Some("") => Ok(0),
                Some(text) => text.parse().map_err(|_| {
                    let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                    bad_request(format!("code=400, message={why}, internal={why}"))
                }),
            },
            Some(_) => Err(wrong_type(name, "uint")),
        }
    }

    /// A number that fits 32 bits.
    pub(super) fn small_number(&self, name: &str) -> Result<u32, Failure> {
        let number = self.number(name)?;
        u32::try_from(number).map_err(|_| {
            let why = format!("strconv.ParseUint: parsing \"{number}\": value out of range");
            bad_request(format!("code=400, message={why}, internal={why}"))
        })
    }

    /// A boolean in any of Go's spellings; false when missing.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, Failure> {
        match self.body(name) {
            Some(Value::Bool(value)) => Ok(*value),
            None | Some(Value::Null) => match self.raw(name) {
                None | Some("" | "0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
                Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
                Some(text) => {
                    let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
                    Err(bad_request(format!("code=400, message={why}, internal={why}")))
                }
            },
            Some(_) => Err(wrong_type(name, "bool")),
        }
    }

    /// A header as text; empty when missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

fn wrong_type(field: &str, expected: &str) -> Failure {
    bad_request(format!(
        "code=400, message=Unmarshal type error: expected={expected}, got=another type, field={field}"
    ))
}
