//! The envelope around every message: version, checksum, metadata and payload.
//!
//! ```text
//! byte 0      version, 1 = JSON (2 = protobuf, which Bacalhau 1.9 can read but never sends)
//! bytes 1..5  CRC-32/IEEE of the body, big-endian
//! bytes 5..   body: {"metadata":{...},"payload":...}
//! ```
//!
//! The checksum guards against accidents, not against people. Nothing that arrives is trusted: its size is bounded
//! before it is parsed and every way it can be wrong is an [`EnvelopeError`] that says what was found.

use crate::metadata::{JSON, Metadata};
use bacalhau_model::{json, lenient};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Version byte of a JSON body.
const VERSION_JSON: u8 = 1;
/// Bytes before the body.
const HEADER_LEN: usize = 5;

/// Largest envelope that is parsed, bytes. NATS servers allow 1 MiB unless told otherwise and advise against more
/// than this.
pub const MAX_ENVELOPE: usize = 8 * 1024 * 1024;

/// Why an envelope could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Cut off.
    #[error("message of {0} bytes is too short: an envelope has at least {HEADER_LEN}")]
    TooShort(usize),
    /// Beyond [`MAX_ENVELOPE`].
    #[error("message of {0} bytes is too large: at most {MAX_ENVELOPE} are read")]
    TooLarge(usize),
    /// Not JSON.
    #[error("envelope version {0} is not supported, only version {VERSION_JSON} (JSON)")]
    Version(u8),
    /// Damaged on the way.
    #[error("checksum of the message is {found:08x}, its header says {expected:08x}: damaged or no envelope")]
    Checksum {
        /// From the header.
        expected: u32,
        /// Of the body.
        found: u32,
    },
    /// The body is not what an envelope holds.
    #[error("body of the envelope: {0}")]
    Body(String),
    /// The payload is not JSON.
    #[error("payload encoding {0:?} is not supported, only \"json\"")]
    Encoding(String),
    /// No message type.
    #[error("metadata without a message type")]
    NoType,
    /// A message type that does not belong here.
    #[error("message type {found:?} is not expected here, only {expected}")]
    Type {
        /// In the metadata.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// The payload does not fit its type.
    #[error("payload of {message_type}: {error}")]
    Payload {
        /// Type of the message.
        message_type: String,
        /// What does not fit, and in which field.
        error: String,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot encode the message: {0}")]
    Encode(String),
}

/// A payload that has a name of its own in the metadata.
pub trait Payload: Serialize + DeserializeOwned {
    /// Message type.
    const TYPE: &'static str;
}

/// Writes an envelope, byte for byte as Bacalhau 1.9 does.
pub fn encode<P: Serialize + ?Sized>(metadata: &Metadata, payload: &P) -> Result<Bytes, EnvelopeError> {
    #[derive(Serialize)]
    struct Body<'a, P: ?Sized> {
        metadata: &'a Metadata,
        payload: &'a P,
    }
    let body = json::to_vec(&Body { metadata, payload }).map_err(|e| EnvelopeError::Encode(e.to_string()))?;
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    out.push(VERSION_JSON);
    out.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    out.extend_from_slice(&body);
    Ok(out.into())
}

/// An envelope that was read; its payload is not decoded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// What is said about the message.
    pub metadata: Metadata,
    /// The message.
    pub payload: Value,
}

impl Envelope {
    /// Reads an envelope. Its type and encoding are known to be there afterwards.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let Some((&[version, a, b, c, d], body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(EnvelopeError::TooShort(bytes.len()));
        };
        if version != VERSION_JSON {
            return Err(EnvelopeError::Version(version));
        }
        let (expected, found) = (u32::from_be_bytes([a, b, c, d]), crc32fast::hash(body));
        if expected != found {
            return Err(EnvelopeError::Checksum { expected, found });
        }
        let body = serde_json::from_slice(body).map_err(|e| EnvelopeError::Body(e.to_string()))?;
        let envelope = Envelope::from_body(body)?;
        match envelope.metadata.encoding() {
            Some(JSON) => {}
            other => return Err(EnvelopeError::Encoding(other.unwrap_or_default().to_owned())),
        }
        envelope.metadata.message_type().ok_or(EnvelopeError::NoType)?;
        Ok(envelope)
    }

    /// Takes the body apart without decoding the payload a second time.
    fn from_body(body: Value) -> Result<Envelope, EnvelopeError> {
        let Value::Object(mut fields) = body else {
            return Err(EnvelopeError::Body("expected an object".to_owned()));
        };
        let mut take = |name: &str| {
            let key = match fields.contains_key(name) {
                true => Some(name.to_owned()),
                false => fields.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned(),
            };
            key.and_then(|key| fields.remove(&key)).unwrap_or_default()
        };
        let pairs: std::collections::BTreeMap<String, String> = match take("metadata") {
            Value::Null => return Err(EnvelopeError::Body("metadata is missing or null".to_owned())),
            pairs => lenient::from_value(pairs).map_err(|e| EnvelopeError::Body(format!("metadata: {e}")))?,
        };
        Ok(Envelope { metadata: pairs.into(), payload: take("payload") })
    }

    /// Name of the message type.
    pub fn message_type(&self) -> &str {
        self.metadata.message_type().unwrap_or_default()
    }

    /// Decodes the payload; the type is the caller's to have checked.
    pub fn payload<P: DeserializeOwned>(self) -> Result<P, EnvelopeError> {
        let Envelope { metadata, payload } = self;
        lenient::from_value(payload).map_err(|e| EnvelopeError::Payload {
            message_type: metadata.message_type().unwrap_or_default().to_owned(),
            error: e.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(body: &str) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&crc32fast::hash(body.as_bytes()).to_be_bytes());
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    fn error(bytes: &[u8]) -> String {
        Envelope::decode(bytes).unwrap_err().to_string()
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_kind_of_damage_has_its_words() {
        assert!(error(b"").contains("0 bytes is too short"));
        assert!(error(&[1, 0, 0, 0]).contains("4 bytes is too short"));
        assert!(error(&vec![1; MAX_ENVELOPE + 1]).contains("too large"));
        assert!(error(&[2, 0, 0, 0, 0]).contains("version 2"));
        assert!(error(&[1, 0, 0, 0, 1, b'{', b'}']).contains("header says 00000001"));
        assert!(error(&framed("{")).contains("body of the envelope"));
        assert!(error(&framed("[]")).contains("expected an object"));
        assert!(error(&framed("{} {}")).contains("trailing"));
        for body in ["{}", r#"{"metadata":null,"payload":{}}"#] {
            assert!(error(&framed(body)).contains("metadata is missing or null"), "{body}");
        }
        assert!(error(&framed(r#"{"metadata":{"Type":1},"payload":{}}"#)).contains("expected string"));
        assert!(error(&framed(r#"{"metadata":{"Type":"x"}}"#)).contains("encoding \"\""));
        let yaml = r#"{"metadata":{"Type":"x","PayloadEncoding":"yaml"}}"#;
        assert!(error(&framed(yaml)).contains("\"yaml\" is not supported"));
        assert!(
            error(&framed(r#"{"metadata":{"PayloadEncoding":"json"}}"#)).contains("without a message type")
        );
    }

    #[test]
    fn the_smallest_envelope_has_no_type() {
        let smallest = framed(r#"{"metadata":{},"payload":{}}"#);
        assert_eq!(smallest[..5], [0x01, 0xc7, 0x7e, 0xb4, 0x02]);
        assert!(error(&smallest).contains("encoding"));
    }

    #[test]
    fn either_spelling_and_any_case_will_do() {
        for body in [
            r#"{"metadata":{"Type":"x","PayloadEncoding":"json"},"payload":1}"#,
            r#"{"Metadata":{"Bacalhau-Type":"x","Bacalhau-PayloadEncoding":"json"},"PAYLOAD":1}"#,
        ] {
            let envelope = Envelope::decode(&framed(body)).unwrap();
            assert_eq!(envelope.message_type(), "x");
            assert_eq!(envelope.payload::<u64>().unwrap(), 1);
        }
    }

    #[test]
    fn a_deep_payload_is_an_error_and_not_a_crash() {
        let deep = format!(r#"{{"metadata":{{}},"payload":{}"#, "[".repeat(100_000));
        assert!(error(&framed(&deep)).contains("body of the envelope"));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn no_body_crashes_the_reader(body in ".{0,200}") {
            let _ = Envelope::decode(&framed(&body));
        }

        #[test]
        fn what_is_written_reads_back(kind in "[A-Za-z.]{1,20}", source in ".{0,30}", text in ".{0,100}", at: i64) {
            let metadata = Metadata::new(&kind, &source, at).with_seq(7);
            let envelope = Envelope::decode(&encode(&metadata, &text).unwrap()).unwrap();
            prop_assert_eq!(&envelope.metadata, &metadata);
            prop_assert_eq!(envelope.metadata.seq(), 7);
            prop_assert_eq!(envelope.metadata.event_time(), Some(at));
            prop_assert_eq!(envelope.payload::<String>().unwrap(), text);
        }
    }
}
