//! Which headers cross the proxy. Pure.
//!
//! Framing is made anew on either side, so that both sides of the proxy see the same ends of messages: a request
//! cannot hide another.

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

/// Tells a server which job asks; Bacalhau 1.9's gateway adds it too.
const JOB_ID: HeaderName = HeaderName::from_static("x-bacalhau-job-id");

/// Headers of one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Prepares the headers of a request: the address it was sent to names the host, whatever its own header says.
pub(super) fn request(headers: &mut HeaderMap, host: HeaderValue, job_id: Option<HeaderValue>) {
    strip(headers);
    // The body goes on at once, so nobody waits for the permission. Its length is known from the body.
    headers.remove(EXPECT);
    headers.remove(CONTENT_LENGTH);
    headers.insert(HOST, host);
    headers.remove(JOB_ID);
    if let Some(job_id) = job_id {
        headers.insert(JOB_ID, job_id);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 bacalhau"));
}

/// Prepares the headers of a response. Only one without a body keeps a length: it tells that of a body not sent.
pub(super) fn response(headers: &mut HeaderMap, has_body: bool) {
    strip(headers);
    if has_body {
        headers.remove(CONTENT_LENGTH);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 bacalhau"));
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn connection_headers_stay_behind() {
        let mut headers = map(&[
            ("Host", "other.example"),
            ("Connection", "close, X-Secret"),
            ("Connection", "x-other"),
            ("X-Secret", "1"),
            ("X-Other", "1"),
            ("Proxy-Authorization", "Basic eA=="),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "5"),
            ("Upgrade", "websocket"),
            ("X-Bacalhau-Job-ID", "j-forged"),
            ("Accept", "*/*"),
        ]);
        request(&mut headers, HeaderValue::from_static("example.com"), Some(HeaderValue::from_static("j-1")));
        let expected = map(&[
            ("Accept", "*/*"),
            ("Host", "example.com"),
            ("X-Bacalhau-Job-ID", "j-1"),
            ("Via", "1.1 bacalhau"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn only_answers_without_a_body_keep_a_length() {
        for (has_body, kept) in [(true, false), (false, true)] {
            let mut headers =
                map(&[("Content-Length", "5"), ("Keep-Alive", "timeout=5"), ("Set-Cookie", "a=b")]);
            response(&mut headers, has_body);
            assert_eq!(headers.contains_key(CONTENT_LENGTH), kept);
            assert!(headers.contains_key("set-cookie") && !headers.contains_key("keep-alive"));
        }
    }
}
