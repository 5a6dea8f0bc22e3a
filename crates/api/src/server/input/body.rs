//! The body of a request: collected within the limits, then parsed as one JSON object.

use crate::server::reply::{Failure, bad_request};
use crate::server::{Shared, envelope};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// From this size on a body is parsed on a thread that may take its time, bytes.
const LARGE: usize = 64 * 1024;

/// A share of the memory for bodies, given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Room {
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes it large enough for so many bytes.
    fn grow(&mut self, app: &Shared, bytes: usize) -> Result<(), Failure> {
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (bytes / 1024 + 1).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = Arc::clone(&app.bodies).try_acquire_many_owned(more).map_err(|_| {
            Failure(
                Error::new(code::SERVICE_UNAVAILABLE, "too many large requests at the same time")
                    .component("APIServer")
                    .hint("Try again later")
                    .retryable(),
            )
        })?;
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
        Ok(())
    }
}

/// Reads all of it; nothing for requests without one.
pub(super) async fn collect(body: Body, app: &Shared) -> Result<(Bytes, Room), Failure> {
    let (mut stream, mut bytes, mut room) = (body.into_data_stream(), BytesMut::new(), Room::default());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| bad_request("code=400, message=the body ended early"))?;
        let size = bytes.len().saturating_add(chunk.len());
        if size > app.limits.body {
            return Err(Failure(envelope::too_large()));
        }
        room.grow(app, size)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), room))
}

/// The JSON object in it; an empty one when there is no body or it says `null`.
pub(super) async fn parse(headers: &HeaderMap, bytes: Bytes) -> Result<Map<String, Value>, Failure> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = "code=400, message=code=415, message=Unsupported Media Type";
        let Failure(error) = bad_request(message);
        return Err(Failure(error.hint("Send JSON, with the header Content-Type: application/json")));
    }
    if bytes.len() < LARGE {
        return object(&bytes);
    }
    tokio::task::spawn_blocking(move || object(&bytes)).await.map_err(|_| envelope::internal())?
}

/// The first JSON value; what comes after it does not count. Nesting is limited by the parser.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    match serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next() {
        Some(Ok(Value::Object(map))) => Ok(map),
        Some(Ok(Value::Null)) => Ok(Map::new()),
        Some(Ok(other)) => Err(bad_request(format!(
            "code=400, message=Unmarshal type error: expected=object, got={}",
            kind(&other)
        ))),
        None => Err(bad_request("code=400, message=EOF, internal=EOF")),
        Some(Err(error)) if error.is_eof() => {
            Err(bad_request("code=400, message=unexpected EOF, internal=unexpected EOF"))
        }
        Some(Err(error)) => {
            let before: usize =
                bytes.split_inclusive(|b| *b == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
            let offset = before + error.column();
            Err(bad_request(format!(
                "code=400, message=Syntax error: offset={offset}, error={error}, internal={error}"
            )))
        }
    }
}

/// What kind of JSON value, in Go's words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_object_or_a_reason() {
        let fails = |text: &str| object(text.as_bytes()).unwrap_err().0.message;
        assert!(fails("{\n\"Job\":}").contains("Syntax error: offset=9, error="));
        assert_eq!(fails(" \n"), "code=400, message=EOF, internal=EOF");
        assert_eq!(fails("{\"Job\": "), "code=400, message=unexpected EOF, internal=unexpected EOF");
        assert_eq!(fails("[1]"), "code=400, message=Unmarshal type error: expected=object, got=array");
        assert!(fails(&"{\"a\":".repeat(10_000)).contains("recursion limit"));
        assert_eq!(object(b"{\"a\":1} trailing").unwrap().len(), 1);
        assert!(object(b"null").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }
    }
}
