//! `wasi:http/requests`, the module through which Bacalhau 1.9 gives preview 1 programs HTTP.
//!
//! It has one function, `http_request`, with a request in the guest's memory and buffers for the response. Text that
//! does not fit a buffer is cut; that the response is larger than the guest may take at all is an error.

use super::super::guest::Guest;
use super::Refusal;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use std::time::Duration;
use wasmtime::{Caller, Extern, Linker, Memory};

/// Name of the module.
pub(crate) const MODULE: &str = "wasi:http/requests";

/// Time for one request with its response.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A response may take four fifths of the guest's memory, but always the one and never more than the other.
const MIN_RESPONSE: u64 = 64 * 1024;
const MAX_RESPONSE: u64 = 100 * 1024 * 1024;

/// Bounds of what a request may bring.
const MAX_URL: u32 = 64 * 1024;
const MAX_HEADERS: u32 = 256 * 1024;

/// Result codes.
const SUCCESS: u32 = 0;
const INVALID_URL: u32 = 1;
const NETWORK_ERROR: u32 = 2;
const TIMED_OUT: u32 = 3;
const NOT_ALLOWED: u32 = 4;
const TOO_LARGE: u32 = 5;
const BAD_INPUT: u32 = 6;
const MEMORY_ERROR: u32 = 7;

/// Headers that belong to the connection; 1.9's client ignores them as well.
const OURS: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "proxy-authorization"];

/// The function's parameters: method, URL, headers and body; where to write headers, body and status. A length of the
/// response holds the size of its buffer before, and what was written after.
type Parameters = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// Where the response goes.
#[derive(Clone, Copy)]
struct Buffers {
    headers: u32,
    headers_length: u32,
    body: u32,
    body_length: u32,
    /// 0 if the guest does not want it.
    status: u32,
}

/// Offers the module to guests.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "http_request",
        |mut caller: Caller<'_, Guest>, parameters: Parameters| {
            Box::new(async move {
                match http_request(&mut caller, parameters).await {
                    Ok(()) => SUCCESS,
                    Err(code) => code,
                }
            })
        },
    )?;
    Ok(())
}

async fn http_request(caller: &mut Caller<'_, Guest>, parameters: Parameters) -> Result<(), u32> {
    let (method, url, url_length, headers, headers_length, body, body_length, ..) = parameters;
    let (.., into_headers, into_headers_length, into_body, into_body_length, status) = parameters;
    let buffers = Buffers {
        headers: into_headers,
        headers_length: into_headers_length,
        body: into_body,
        body_length: into_body_length,
        status,
    };
    if [into_headers, into_headers_length, into_body, into_body_length].contains(&0) {
        return Err(BAD_INPUT);
    }
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return Err(MEMORY_ERROR) };
    let data = memory.data(&*caller);
    let url = read(data, url, url_length, MAX_URL).ok_or(INVALID_URL)?;
    let url = std::str::from_utf8(url).ok().and_then(|url| Url::parse(url).ok()).ok_or(INVALID_URL)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(INVALID_URL);
    }
    let mut request = Request::new(method_of(method)?, url);
    if headers != 0 {
        let headers = read(data, headers, headers_length, MAX_HEADERS).ok_or(BAD_INPUT)?;
        *request.headers_mut() = parse_headers(headers).ok_or(BAD_INPUT)?;
    }
    if body != 0 && body_length > 0 {
        let body = read(data, body, body_length, u32::MAX).ok_or(BAD_INPUT)?;
        *request.body_mut() = Some(body.to_vec().into());
    }
    *request.timeout_mut() = Some(TIMEOUT);
    let limit = response_limit(memory.data_size(&*caller) as u64);

    let http = caller.data().http.clone();
    let (response, _permit) = http.send(request).await.map_err(|refusal| code_of(&refusal))?;
    let status = response.status().as_u16();
    let headers = format_headers(response.headers());
    let body = read_body(response, limit).await?;
    write(caller, memory, &buffers, u32::from(status), headers.as_bytes(), &body).ok_or(MEMORY_ERROR)
}

fn code_of(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::NotAllowed => NOT_ALLOWED,
        Refusal::Failed(error) => code_of_error(error),
        Refusal::TooMany => NETWORK_ERROR,
        Refusal::Setup(reason) => {
            tracing::warn!(%reason, "guests have no HTTP");
            NETWORK_ERROR
        }
    }
}

fn code_of_error(error: &reqwest::Error) -> u32 {
    if error.is_timeout() { TIMED_OUT } else { NETWORK_ERROR }
}

fn method_of(number: u32) -> Result<Method, u32> {
    Ok(match number {
        0 => Method::GET,
        1 => Method::POST,
        2 => Method::PUT,
        3 => Method::DELETE,
        4 => Method::HEAD,
        5 => Method::OPTIONS,
        6 => Method::PATCH,
        _ => return Err(BAD_INPUT),
    })
}

/// Lines `Name: value`. What is no such line is passed over, as in 1.9; `None` for names and values HTTP forbids.
fn parse_headers(text: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line.get(..colon)?.trim_ascii(), line.get(colon + 1..)?.trim_ascii());
        let name = HeaderName::from_bytes(name).ok()?;
        if !OURS.contains(&name.as_str()) {
            headers.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
        }
    }
    Some(headers)
}

/// Lines `Name: value`, names in the spelling of Go, which programs look for.
fn format_headers(headers: &HeaderMap) -> String {
    let lines = headers.iter().map(|(name, value)| {
        format!("{}: {}", spelled(name.as_str()), String::from_utf8_lossy(value.as_bytes()))
    });
    lines.collect::<Vec<String>>().join("\n")
}

/// `content-type` as `Content-Type`.
fn spelled(name: &str) -> String {
    let mut starts_word = true;
    let spell = |letter: char| {
        let upper = std::mem::replace(&mut starts_word, letter == '-');
        if upper { letter.to_ascii_uppercase() } else { letter }
    };
    name.chars().map(spell).collect()
}

/// Bytes a response may have for a guest with this much memory.
fn response_limit(memory: u64) -> u64 {
    (memory / 5 * 4).clamp(MIN_RESPONSE, MAX_RESPONSE)
}

async fn read_body(mut response: Response, limit: u64) -> Result<Vec<u8>, u32> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(TOO_LARGE);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| code_of_error(&e))? {
        if (body.len() as u64).saturating_add(chunk.len() as u64) > limit {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A range of the guest's memory, if it is there and not longer than `most`.
fn read(data: &[u8], at: u32, length: u32, most: u32) -> Option<&[u8]> {
    let at = at as usize;
    (length <= most).then(|| data.get(at..at.checked_add(length as usize)?)).flatten()
}

/// Writes the response as far as it fits. `None` if something is not in the guest's memory.
fn write(
    caller: &mut Caller<'_, Guest>,
    memory: Memory,
    to: &Buffers,
    status: u32,
    headers: &[u8],
    body: &[u8],
) -> Option<()> {
    let headers = fitting(memory.data(&*caller), to.headers_length, headers)?;
    let body = fitting(memory.data(&*caller), to.body_length, body)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut put = |at: u32, bytes: &[u8]| memory.write(&mut *caller, at as usize, bytes).ok();
    if to.status != 0 {
        put(to.status, &status.to_le_bytes())?;
    }
    put(to.headers_length, &length(headers))?;
    put(to.body_length, &length(body))?;
    put(to.headers, headers)?;
    put(to.body, body)
}

/// What fits the buffer whose size is at `length_at`.
fn fitting<'a>(data: &[u8], length_at: u32, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let size = u32::from_le_bytes(*read(data, length_at, 4, 4)?.first_chunk()?) as usize;
    Some(bytes.get(..size).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_written_as_lines() {
        let headers = parse_headers(
            b"Accept: text/plain\n\nno colon\n X-A :  1 \r\nx-a:2\nHost: evil\nConnection: close",
        )
        .unwrap();
        assert_eq!(headers.get("accept").unwrap(), "text/plain");
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.len(), 3);
        assert_eq!(format_headers(&headers), "Accept: text/plain\nX-A: 1\nX-A: 2");
        assert!(parse_headers(b"na me: 1").is_none());
        assert!(parse_headers(b"name: \x01").is_none());
    }

    #[test]
    fn responses_have_a_limit() {
        assert_eq!(response_limit(0), 64 * 1024);
        assert_eq!(response_limit(1 << 20), (1 << 20) / 5 * 4);
        assert_eq!(response_limit(4 << 30), 100 * 1024 * 1024);
    }

    #[test]
    fn memory_is_read_within_bounds() {
        assert_eq!(read(b"abc", 1, 2, 9), Some(&b"bc"[..]));
        assert_eq!(read(b"abc", 1, 3, 9), None);
        assert_eq!(read(b"abc", u32::MAX, u32::MAX, u32::MAX), None);
        assert_eq!(read(b"abc", 0, 3, 2), None);
        assert_eq!(fitting(&[2, 0, 0, 0], 0, b"abc"), Some(&b"ab"[..]));
        assert_eq!(fitting(&[9, 0, 0, 0], 0, b"abc"), Some(&b"abc"[..]));
        assert_eq!(fitting(&[9, 0, 0], 0, b"abc"), None);
    }
}
