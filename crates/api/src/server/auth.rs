//! The login that clients of Bacalhau 1.9 do before their first request, even where everything is allowed.
//!
//! The only method is the challenge: the client signs the phrase with its own key. The token that it gets says no
//! more than that it has one; nothing here looks at tokens. With users configured there is no method at all.

use super::App;
use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request, encode, json_response, unknown_route};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bacalhau_model::lenient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the method, as it stands in the path.
const METHOD: &str = "clientkey";
/// First bytes of any PKCS#1 public key: a sequence whose length takes two bytes, as 2048 bits and more do.
const SEQUENCE: [u8; 2] = [0x30, 0x82];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Methods {
    next_token: String,
    methods: BTreeMap<&'static str, Requirement>,
}

#[derive(Serialize)]
struct Requirement {
    r#type: &'static str,
    params: Params,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Params {
    input_phrase: String,
}

/// What is to be signed: the ID of the orchestrator, as in Bacalhau 1.9.
fn phrase(app: &App) -> Result<&str, Failure> {
    Ok(app.backend()?.node_id())
}

fn requirement(app: &App) -> Result<Requirement, Failure> {
    Ok(Requirement { r#type: "challenge", params: Params { input_phrase: STANDARD.encode(phrase(app)?) } })
}

/// That the method in the path is the one there is.
fn known(app: &App, name: &str) -> Result<(), Failure> {
    if name == METHOD && app.auth.is_open() { Ok(()) } else { Err(unknown_route()) }
}

pub(super) async fn list(State(app): State<App>) -> Answer {
    let mut methods = BTreeMap::new();
    if app.auth.is_open() {
        methods.insert(METHOD, requirement(&app)?);
    }
    Json::of(&Methods { next_token: String::new(), methods })
}

pub(super) async fn method(State(app): State<App>, Id(name): Id) -> Answer {
    known(&app, &name)?;
    Json::of(&requirement(&app)?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Signed {
    phrase_signature: String,
    public_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    authentication: Authentication,
}

#[derive(Serialize)]
struct Authentication {
    success: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token: String,
}

pub(super) async fn authenticate(
    State(app): State<App>,
    Id(name): Id,
    input: Input,
) -> Result<Response, Failure> {
    known(&app, &name)?;
    let data = STANDARD
        .decode(input.text("MethodData")?)
        .map_err(|e| bad_request(format!("code=400, message=MethodData is no base64: {e}")))?;
    if data.is_empty() {
        return Err(bad_request("invalid authentication data: unexpected end of JSON input"));
    }
    let signed: Signed =
        lenient::from_slice(&data).map_err(|e| bad_request(format!("invalid authentication data: {e}")))?;
    Ok(match verify(phrase(&app)?.as_bytes(), &signed) {
        Ok(()) => {
            let token = format!("bacalhau-{}", uuid::Uuid::new_v4().simple());
            let authentication = Authentication { success: true, reason: String::new(), token };
            Json::of(&Outcome { authentication })?.into_response()
        }
        Err(reason) => {
            let authentication = Authentication { success: false, reason, token: String::new() };
            json_response(StatusCode::UNAUTHORIZED, encode(&Outcome { authentication }))
        }
    })
}

/// RSASSA-PKCS1-v1_5 with SHA-256 over the phrase; the key is the PKCS#1 DER of an RSA public key.
fn verify(phrase: &[u8], signed: &Signed) -> Result<(), String> {
    let key = STANDARD.decode(&signed.public_key).map_err(|e| format!("failed to decode public key: {e}"))?;
    if !key.starts_with(&SEQUENCE) {
        return Err("failed to decode public key: not the DER of an RSA key of at least 2048 bits".to_owned());
    }
    let signature =
        STANDARD.decode(&signed.phrase_signature).map_err(|e| format!("failed to decode signature: {e}"))?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(phrase, &signature)
        .map_err(|_| "crypto/rsa: verification error".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL 3: a 2048-bit key, the signature of the phrase, the public key in PKCS#1 form.
    const VECTOR: &str = include_str!("testdata/challenge.txt");

    fn vector() -> (&'static str, Signed) {
        let field = |name: &str| {
            let mut lines = VECTOR.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
        };
        let signed = Signed {
            phrase_signature: field("PhraseSignature").to_owned(),
            public_key: field("PublicKey").to_owned(),
        };
        (field("Phrase"), signed)
    }

    #[test]
    fn signatures_are_checked() {
        let (phrase, mut signed) = vector();
        assert_eq!(verify(phrase.as_bytes(), &signed), Ok(()));
        assert_eq!(verify(b"n-2", &signed), Err("crypto/rsa: verification error".to_owned()));
        signed.phrase_signature = "!".to_owned();
        assert!(verify(phrase.as_bytes(), &signed).unwrap_err().starts_with("failed to decode signature"));
        for junk in ["!", "", "aGVsbG8="] {
            signed.public_key = junk.to_owned();
            assert!(
                verify(phrase.as_bytes(), &signed).unwrap_err().starts_with("failed to decode public key")
            );
        }
    }
}
