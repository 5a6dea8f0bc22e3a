//! The metadata of an envelope: type, encoding, sender, time and delivery number of a message.

use crate::headers::Headers;
use serde::Serialize;
use std::collections::BTreeMap;

/// Keys of the metadata.
pub mod key {
    /// Message type; readers prefer this one.
    pub const TYPE: &str = "Bacalhau-Type";
    /// Message type, older spelling.
    pub const TYPE_OLD: &str = "Type";
    /// Encoding of the payload.
    pub const ENCODING: &str = "Bacalhau-PayloadEncoding";
    /// Encoding of the payload, older spelling.
    pub const ENCODING_OLD: &str = "PayloadEncoding";
    /// Who says it.
    pub const SOURCE: &str = "Bacalhau-Source";
    /// When, nanoseconds since 1970, decimal.
    pub const EVENT_TIME: &str = "Bacalhau-EventTime";
    /// `seq-<n>`.
    pub const MESSAGE_ID: &str = "Bacalhau-MessageID";
    /// `<n>`: delivery number, see [`crate::delivery`].
    pub const SEQ_NUM: &str = "Bacalhau-SeqNum";
    /// Subject of the message, orchestrator to node only.
    pub const SUBJECT: &str = "Bacalhau-Subject";
    /// HTTP status of an error reply.
    pub const STATUS_CODE: &str = "Bacalhau-StatusCode";
    /// Code of an error reply.
    pub const ERROR_CODE: &str = "Bacalhau-ErrorCode";
}

/// The only payload encoding there is.
pub const JSON: &str = "json";

/// String pairs, printed in the order of their keys, as Go prints maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// What every message carries: its type and encoding in both spellings, its sender and the time in nanoseconds
    /// since 1970.
    pub fn new(message_type: &str, source: &str, at: i64) -> Metadata {
        Metadata::default()
            .with(key::TYPE, message_type)
            .with(key::TYPE_OLD, message_type)
            .with(key::ENCODING, JSON)
            .with(key::ENCODING_OLD, JSON)
            .with(key::SOURCE, source)
            .with(key::EVENT_TIME, at.to_string())
    }

    /// The same metadata with one more pair.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Metadata {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// The same metadata with a delivery number in both of its forms.
    #[must_use]
    pub fn with_seq(self, seq: u64) -> Metadata {
        self.with(key::MESSAGE_ID, format!("seq-{seq}")).with(key::SEQ_NUM, seq.to_string())
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Message type in either spelling.
    pub fn message_type(&self) -> Option<&str> {
        self.get(key::TYPE).or_else(|| self.get(key::TYPE_OLD))
    }

    /// Payload encoding in either spelling.
    pub fn encoding(&self) -> Option<&str> {
        self.get(key::ENCODING).or_else(|| self.get(key::ENCODING_OLD))
    }

    /// Who claims to have sent it; never to be trusted above the subject.
    pub fn source(&self) -> &str {
        self.get(key::SOURCE).unwrap_or_default()
    }

    /// Nanoseconds since 1970; error replies of Bacalhau 1.9 carry nonsense here.
    pub fn event_time(&self) -> Option<i64> {
        self.get(key::EVENT_TIME)?.parse().ok()
    }

    /// Delivery number; 0 when there is none or it is no number.
    pub fn seq(&self) -> u64 {
        self.get(key::SEQ_NUM).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The copy that travels as NATS headers.
    pub fn to_headers(&self) -> Headers {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

impl From<BTreeMap<String, String>> for Metadata {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        Metadata(pairs)
    }
}
