//! `?pretty`: the same JSON, indented by two spaces.

use axum::body::{Body, to_bytes};
use axum::http::header;
use axum::response::Response;

/// Whether the query asks for it, with any value or none.
pub(super) fn is_asked(query: Option<&str>) -> bool {
    query.is_some_and(|q| q.split('&').any(|p| p == "pretty" || p.starts_with("pretty=")))
}

/// The same answer, indented. Anything that is no JSON stays as it is.
pub(super) async fn indented(response: Response) -> Response {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == "application/json");
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    // Like encoding, indenting long lists must not hold up others.
    let indented = tokio::task::spawn_blocking(move || indent(&bytes)).await.unwrap_or_default();
    Response::from_parts(parts, Body::from(indented))
}

/// Indents by two spaces, keeping the order of members: no detour through a map that would sort them.
fn indent(json: &[u8]) -> Vec<u8> {
    let (mut out, mut depth, mut text, mut escaped) =
        (Vec::with_capacity(json.len() * 2), 0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if text {
            out.push(byte);
            (escaped, text) = match byte {
                b'\\' if !escaped => (true, true),
                b'"' if !escaped => (false, false),
                _ => (false, true),
            };
            continue;
        }
        match byte {
            b'{' | b'[' if bytes.peek().is_some_and(|next| matches!(next, b'}' | b']')) => {
                out.push(byte);
                out.extend(bytes.next());
            }
            b'{' | b'[' => {
                depth += 1;
                out.push(byte);
                newline(&mut out, depth);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend(b": "),
            b'"' => {
                text = true;
                out.push(byte);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indenting_keeps_order_and_texts() {
        let json = br#"{"b":[1,{"a":"x,{\"}"}],"a":{},"c":[]}"#;
        let expected = "{\n  \"b\": [\n    1,\n    {\n      \"a\": \"x,{\\\"}\"\n    }\n  ],\n  \"a\": {},\n  \"c\": []\n}";
        assert_eq!(String::from_utf8(indent(json)).unwrap(), expected);
    }
}
