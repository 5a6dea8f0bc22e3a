//! What a user may do: in its own document, or in the template of the key that signed it. Numbers below zero mean "no
//! limit".

use serde::{Deserialize, Deserializer, Serialize};

use super::claims::is_default;

/// The number for "no limit".
pub const NO_LIMIT: i64 = -1;

/// What a user may do, and how it may connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Subjects.
    #[serde(flatten)]
    pub permissions: Permissions,
    /// Networks to connect from (`10.0.0.0/8`); none: all.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "one_or_many")]
    pub src: Vec<String>,
    /// Times of the day to be connected in; none: always.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times: Vec<TimeRange>,
    /// Time zone of those (`Europe/Paris`); empty: that of the server.
    #[serde(default, skip_serializing_if = "is_default")]
    pub times_location: String,
    /// Subscriptions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subs: i64,
    /// Bytes; not counted here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data: i64,
    /// Bytes of one message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub payload: i64,
    /// Whoever has the document may connect, without the seed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bearer_token: bool,
    /// `STANDARD`, `WEBSOCKET`, ...; none: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed_connection_types: Vec<String>,
}

impl Default for Terms {
    /// Everything.
    fn default() -> Self {
        Self { subs: NO_LIMIT, data: NO_LIMIT, payload: NO_LIMIT, ..Self::blank() }
    }
}

impl Terms {
    /// Nothing said: what the document of a user must have whose signing key is scoped.
    pub fn blank() -> Terms {
        Terms {
            permissions: Permissions::default(),
            src: Vec::new(),
            times: Vec::new(),
            times_location: String::new(),
            subs: 0,
            data: 0,
            payload: 0,
            bearer_token: false,
            allowed_connection_types: Vec::new(),
        }
    }
}

/// From and to a time of the day, as `15:04:05`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// From.
    pub start: String,
    /// To; if it is before the start, on the next day.
    pub end: String,
}

/// Subjects. Nothing allowed means everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// To publish to.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// To subscribe to.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Requests may be answered.
    #[serde(rename = "resp", skip_serializing_if = "is_default")]
    pub responses: Option<Response>,
}

/// Lists of subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Only these; none: everything.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<String>,
    /// Never these.
    #[serde(skip_serializing_if = "is_default")]
    pub deny: Vec<String>,
}

/// How often and how long a request may be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Response {
    /// Messages; 0 is 1, below zero is no limit.
    pub max: i64,
    /// Nanoseconds; 0 is two minutes, below zero is no limit.
    pub ttl: i64,
}

/// A list, or a text with commas.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Many(list) => list,
        Either::One(text) => {
            text.split(',').map(|part| part.trim().to_lowercase()).filter(|part| !part.is_empty()).collect()
        }
    })
}
