//! The envelope: three parts in base 64, the last one a signature by the key that the middle one names. Opening it
//! proves that the issuer wrote it, not that the issuer may be trusted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Role};
use crate::auth::nkey::PublicKey;

/// Longest document read, in bytes: an account with some ten thousand revocations.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Newest version of the claims.
pub(super) const VERSION: i64 = 2;
/// The header of every document made here.
pub(super) const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    typ: String,
    #[serde(default)]
    alg: String,
}

/// An opened envelope.
#[derive(Debug)]
pub(super) struct Opened {
    /// `operator`, `account`, `user` or something else.
    pub(super) kind: String,
    /// 1 or 2.
    pub(super) version: i64,
    /// Always an object.
    pub(super) claims: Value,
    /// The role of the issuer's key.
    pub(super) issuer: Role,
}

/// Opens `token` and checks its signature.
pub(super) fn open(token: &str) -> Result<Opened, Error> {
    let token = token.trim();
    if token.len() > MAX_BYTES {
        return Err(Error::TooLong { found: token.len(), most: MAX_BYTES });
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::malformed("it must have three parts with dots between them"));
    };
    check_header(header)?;
    let mut claims: Value = serde_json::from_slice(&decode("the second part", payload)?)
        .map_err(|error| Error::malformed(format!("the second part is not JSON: {error}")))?;
    if !claims.is_object() {
        return Err(Error::malformed("the second part is not a JSON object"));
    }
    // `null` stands for "nothing here" in documents of the Go library.
    strip_nulls(&mut claims);
    let (kind, version) = identify(&claims)?;
    let named = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let wrong = || Error::WrongKey { field: "issuer", found: shortened(named), expected: Role::Operator };
    let (issuer, key) = [Role::Operator, Role::Account]
        .into_iter()
        .find_map(|role| Some((role, PublicKey::parse(named, role)?)))
        .ok_or_else(wrong)?;
    // The first version signed the payload alone.
    let signed = match version {
        1 => payload,
        _ => token.get(..header.len() + 1 + payload.len()).unwrap_or_default(),
    };
    if !key.has_signed(signed.as_bytes(), signature) {
        return Err(Error::Signature);
    }
    Ok(Opened { kind, version, claims, issuer })
}

fn check_header(part: &str) -> Result<(), Error> {
    let header: Header = serde_json::from_slice(&decode("the header", part)?)
        .map_err(|error| Error::malformed(format!("the header is not JSON: {error}")))?;
    let known = ["ed25519-nkey", "ed25519"].iter().any(|known| header.alg.eq_ignore_ascii_case(known));
    if header.typ.eq_ignore_ascii_case("JWT") && known {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "the header says type {:?} and algorithm {:?}; only JWT with ed25519-nkey can be checked",
        shortened(&header.typ),
        shortened(&header.alg)
    )))
}

/// What it is, and in which version: the first one had the kind outside of `nats`.
fn identify(claims: &Value) -> Result<(String, i64), Error> {
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let old = kind(claims);
    if !old.is_empty() {
        return Ok((old, 1));
    }
    let nats = claims.get("nats").unwrap_or(&Value::Null);
    match nats.get("version").and_then(Value::as_i64).unwrap_or(0) {
        version @ 1..=VERSION => Ok((kind(nats), version)),
        version => Err(Error::malformed(format!(
            "its version is {version}, and only 1 and 2 can be read; newer ones may hold restrictions unknown here"
        ))),
    }
}

fn decode(what: &str, part: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::malformed(format!("{what} is not base 64 for URLs")))
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Text from a document in an error: enough to recognise it.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
