//! Log streams as JSON. No envelopes here: this part of the protocol is older than they are.

use super::{LogLine, LogRequest, packed};
use crate::subjects;
use bacalhau_model::{json, lenient};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The stream just ends.
pub(super) const NORMAL: i64 = 1000;
/// The node shuts down.
pub(super) const GOING_AWAY: i64 = 1001;
/// A request that cannot be read.
pub(super) const BAD_REQUEST: i64 = 4000;
/// The node cannot do it.
pub(super) const INTERNAL: i64 = 5000;

/// Largest frame or request that is read, bytes. NATS servers allow 1 MiB unless told otherwise.
const MOST: usize = 8 * 1024 * 1024;
/// Longest piece of a line in one frame, bytes. JSON makes six of one at worst and base64 four of three, so a frame
/// stays below 400 KiB.
pub(super) const LONGEST_PIECE: usize = 48 * 1024;

const DATA: u8 = 1;
const CLOSE: u8 = 2;

/// Opens a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OpenFrame {
    consumer_id: String,
    stream_id: String,
    heart_beat_request_sub: String,
    body: String,
    /// Not known to Bacalhau 1.9, which ignores it: see [`Opening::flow_control`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flow_control: bool,
    /// Additions as well: see [`Opening::packed`] and [`Opening::window`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    packed: bool,
    #[serde(skip_serializing_if = "is_zero")]
    window: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde passes references.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde passes references.
fn is_no_time(time: &i64) -> bool {
    *time == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OpenBody {
    #[serde(rename = "ExecutionID")]
    execution_id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    tail: bool,
    follow: bool,
    /// Additions to Bacalhau 1.9, which ignores them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tail_lines: Option<u64>,
    /// Nanoseconds since 1970.
    #[serde(skip_serializing_if = "is_no_time")]
    since: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StreamFrame {
    r#type: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_error: Option<CloseError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CloseError {
    code: i64,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    value: DataLine,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DataLine {
    r#type: u8,
    line: String,
}

/// Streams that a node serves, by the subject they were asked on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AliveRequest {
    /// Subject to stream IDs.
    pub(super) active_stream_ids: BTreeMap<String, Option<Vec<String>>>,
}

/// Those of them that nobody wants any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AliveResponse {
    /// Subject to stream IDs.
    pub(super) non_active_stream_ids: BTreeMap<String, Option<Vec<String>>>,
}

/// A request for a stream as it reached the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) stream_id: String,
    /// Where to ask whether the stream is still wanted.
    pub(super) keep_alive: String,
    pub(super) node_id: String,
    pub(super) request: LogRequest,
    /// The consumer answers frames that have a reply subject once they were read, so that a node never sends much
    /// more than is read. Without it a node sends as fast as it can.
    pub(super) flow_control: bool,
    /// The consumer takes packed messages.
    pub(super) packed: bool,
    /// Bytes that may be on their way to the consumer, as it wishes; 0 for no wish.
    pub(super) window: u64,
    consumer_id: String,
}

/// One frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Lines(Vec<LogLine>),
    /// Something went wrong on the node; a close follows.
    Error(String),
    Close {
        code: i64,
        text: String,
    },
}

/// The value is plain data; an error would be a bug and ends as an empty message that the reader refuses.
pub(super) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    json::to_vec(value).unwrap_or_default()
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MOST {
        return Err(format!("{} bytes are too many, at most {MOST} are read", bytes.len()));
    }
    lenient::from_slice(bytes).map_err(|e| e.to_string())
}

fn from_base64<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    from_json(&STANDARD.decode(text).map_err(|e| format!("base64: {e}"))?)
}

impl Opening {
    /// A request of the orchestrator whose inbox has this name.
    pub(super) fn new(
        nuid: &str,
        stream_id: &str,
        node_id: &str,
        request: LogRequest,
        window: u64,
    ) -> Opening {
        Opening {
            consumer_id: format!("_SINBOX.{nuid}."),
            stream_id: stream_id.to_owned(),
            keep_alive: subjects::keep_alive(node_id, nuid),
            node_id: node_id.to_owned(),
            request,
            flow_control: true,
            packed: true,
            window,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let body = OpenBody {
            execution_id: self.request.execution_id.clone(),
            node_id: self.node_id.clone(),
            tail: self.request.tail,
            follow: self.request.follow,
            tail_lines: self.request.last_lines,
            since: self.request.since,
        };
        to_json(&OpenFrame {
            consumer_id: self.consumer_id.clone(),
            stream_id: self.stream_id.clone(),
            heart_beat_request_sub: self.keep_alive.clone(),
            body: STANDARD.encode(to_json(&body)),
            flow_control: self.flow_control,
            packed: self.packed,
            window: self.window,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Opening, String> {
        let frame: OpenFrame = from_json(bytes)?;
        let body: OpenBody = from_base64(&frame.body).map_err(|e| format!("body: {e}"))?;
        if frame.stream_id.is_empty() || body.execution_id.is_empty() {
            return Err("streamId and ExecutionID must not be empty".to_owned());
        }
        Ok(Opening {
            consumer_id: frame.consumer_id,
            stream_id: frame.stream_id,
            keep_alive: frame.heart_beat_request_sub,
            node_id: body.node_id,
            request: LogRequest {
                execution_id: body.execution_id,
                follow: body.follow,
                tail: body.tail,
                last_lines: body.tail_lines,
                since: body.since,
            },
            flow_control: frame.flow_control,
            packed: frame.packed,
            window: frame.window,
        })
    }
}

fn data(error: &str, stream: u8, line: &str) -> Vec<u8> {
    let value = DataLine { r#type: stream, line: line.to_owned() };
    let data = STANDARD.encode(to_json(&Data { error: error.to_owned(), value }));
    to_json(&StreamFrame { r#type: DATA, data, close_error: None })
}

pub(super) fn line(stream: u8, text: &str) -> Vec<u8> {
    data("", stream, text)
}

pub(super) fn error(text: &str) -> Vec<u8> {
    data(text, 0, "")
}

pub(super) fn close(code: i64, text: &str) -> Vec<u8> {
    let close_error = Some(CloseError { code, text: text.to_owned() });
    to_json(&StreamFrame { r#type: CLOSE, data: String::new(), close_error })
}

pub(super) fn decode(bytes: &Bytes) -> Result<Frame, String> {
    if packed::is_packed(bytes) {
        return packed::take(bytes).map(Frame::Lines);
    }
    let frame: StreamFrame = from_json(bytes)?;
    match frame.r#type {
        DATA => {
            let data: Data = from_base64(&frame.data).map_err(|e| format!("data: {e}"))?;
            Ok(match data.error.is_empty() {
                true => {
                    let text = data.value.line.into();
                    Frame::Lines(vec![LogLine { stream: data.value.r#type, time: 0, text }])
                }
                false => Frame::Error(data.error),
            })
        }
        CLOSE => {
            let close = frame.close_error.unwrap_or(CloseError { code: NORMAL, text: String::new() });
            Ok(Frame::Close { code: close.code, text: close.text })
        }
        other => Err(format!("unknown frame type {other}")),
    }
}

/// Cuts a line into pieces that fit into a frame, at character boundaries.
pub(super) fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = (0..=rest.len().min(LONGEST_PIECE)).rev().find(|at| rest.is_char_boundary(*at))?;
        let (piece, tail) = rest.split_at_checked(cut)?;
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Recorded from the original: every log frame and request decodes and encodes to the same bytes.
    #[test]
    fn recorded_streams_encode_to_the_same_bytes() {
        let mut seen = 0;
        for line in include_str!("../../tests/golden/nats.jsonl").lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let subject = record["subject"].as_str().unwrap();
            // The recording sorted nothing: key order is that of the original.
            let text = line.split_once("\"json\": ").map(|(_, json)| json.strip_suffix('}').unwrap());
            let compact = |text: &str| text.replace("\": ", "\":").replace(", \"", ",\"");
            if subject.ends_with("ExecutionLogs/v1") {
                let recorded = compact(text.unwrap());
                let opening = Opening::decode(recorded.as_bytes()).unwrap();
                assert_eq!(String::from_utf8(opening.encode()).unwrap(), recorded);
                assert!(opening.request.follow && !opening.request.tail);
                seen += 1;
            } else if subject.starts_with("_SINBOX.") {
                let recorded = compact(text.unwrap());
                let again = match decode(&recorded.clone().into()).unwrap() {
                    Frame::Lines(l) => super::line(l[0].stream, str::from_utf8(&l[0].text).unwrap()),
                    Frame::Close { code, text } => close(code, &text),
                    Frame::Error(text) => error(&text),
                };
                assert_eq!(String::from_utf8(again).unwrap(), recorded);
                seen += 1;
            }
        }
        assert_eq!(seen, 5);
    }

    #[test]
    fn errors_travel_in_the_known_shape() {
        let bytes = error("boom");
        assert_eq!(decode(&bytes.clone().into()).unwrap(), Frame::Error("boom".into()));
        let frame: StreamFrame = from_json(&bytes).unwrap();
        let inner = STANDARD.decode(frame.data).unwrap();
        assert_eq!(inner, br#"{"error":"boom","value":{"Type":0,"Line":""}}"#);
        let alive = AliveResponse::default();
        assert_eq!(to_json(&alive), br#"{"NonActiveStreamIds":{}}"#);
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [&b""[..], b"{}", b"[]", br#"{"type":1,"data":"%"}"#, br#"{"type":9}"#] {
            assert!(decode(&Bytes::from_static(bytes)).is_err());
        }
        assert!(decode(&vec![b' '; MOST + 1].into()).is_err());
        for bytes in [&b""[..], b"{}", br#"{"streamId":"x","body":"e30="}"#] {
            assert!(Opening::decode(bytes).is_err());
        }
        assert_eq!(
            decode(&br#"{"type":2}"#[..].into()).unwrap(),
            Frame::Close { code: NORMAL, text: String::new() }
        );
    }

    #[test]
    fn the_worst_frame_is_below_the_limit() {
        assert!(line(1, &"\u{0}".repeat(LONGEST_PIECE)).len() < 512 * 1024);
    }

    proptest! {
        #[test]
        fn pieces_make_the_line_again(text in "[aé€😀]{0,40}", times in 1..2000_usize) {
            let line = text.repeat(times);
            let parts: Vec<&str> = pieces(&line).collect();
            prop_assert!(parts.iter().all(|p| !p.is_empty() && p.len() <= LONGEST_PIECE));
            prop_assert_eq!(parts.concat(), line);
        }

        #[test]
        fn no_bytes_crash_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Opening::decode(&bytes), decode(&bytes.into()));
        }
    }
}
