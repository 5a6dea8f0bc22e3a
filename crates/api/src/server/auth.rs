//! The login that clients of Bacalhau 1.9 do before their first request, although everything is allowed.
//!
//! The only method is the challenge: the client signs the phrase with its own key. The token that it gets says no
//! more than that it has one; nothing here looks at tokens.

use super::App;
use super::input::Input;
use super::reply::{Answer, Failure, Json, bad_request, json_response, unknown_route};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bacalhau_model::{Error, lenient};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

/// Name of the method, as it stands in the path.
const METHOD: &str = "clientkey";

/// What is to be signed: the ID of the orchestrator, as in Bacalhau 1.9.
fn phrase(app: &App) -> String {
    app.orchestrator.as_ref().map(|o| o.node_id().to_owned()).unwrap_or_default()
}

fn requirement(app: &App) -> Value {
    json!({"params": {"InputPhrase": STANDARD.encode(phrase(app))}, "type": "challenge"})
}

pub(super) async fn list(State(app): State<App>) -> Answer {
    Json::of(&json!({"Methods": {METHOD: requirement(&app)}, "NextToken": ""}))
}

pub(super) async fn method(State(app): State<App>, Path(name): Path<String>) -> Answer {
    match name == METHOD {
        true => Json::of(&requirement(&app)),
        false => Err(unknown_route().await),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Signed {
    phrase_signature: String,
    public_key: String,
}

pub(super) async fn authenticate(
    State(app): State<App>,
    Path(name): Path<String>,
    input: Input,
) -> Result<Response, Failure> {
    if name != METHOD {
        return Err(unknown_route().await);
    }
    let invalid = |why: String| {
        Failure(
            Error::new("InternalError", format!("invalid authentication data: {why}")).component("APIServer"),
        )
    };
    let data = STANDARD
        .decode(input.text("MethodData")?)
        .map_err(|e| bad_request(format!("code=400, message=MethodData is no base64: {e}")))?;
    let signed: Signed = lenient::from_slice(&data).map_err(|e| invalid(e.to_string()))?;
    Ok(match verify(phrase(&app).as_bytes(), &signed) {
        Ok(()) => {
            let token = format!("bacalhau-{}", uuid::Uuid::new_v4().simple());
            Json::of(&json!({"Authentication": {"success": true, "token": token}}))?.into_response()
        }
        Err(reason) => {
            let body = json!({"Authentication": {"reason": reason, "success": false}});
            json_response(StatusCode::UNAUTHORIZED, format!("{body}\n").into_bytes())
        }
    })
}

/// RSASSA-PKCS1-v1_5 with SHA-256 over the phrase; the key is the PKCS#1 DER of an RSA public key.
fn verify(phrase: &[u8], signed: &Signed) -> Result<(), String> {
    let key = STANDARD.decode(&signed.public_key).map_err(|e| format!("failed to decode public key: {e}"))?;
    let signature =
        STANDARD.decode(&signed.phrase_signature).map_err(|e| format!("failed to decode signature: {e}"))?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(phrase, &signature)
        .map_err(|_| "crypto/rsa: verification error".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rsa::KeyPair;
    use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256};

    #[test]
    fn signatures_are_checked() {
        let pem = include_str!("testdata/rsa2048.b64");
        let key = KeyPair::from_pkcs8(&STANDARD.decode(pem.trim()).unwrap()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &random, b"n-1", &mut signature).unwrap();
        let mut signed = Signed {
            phrase_signature: STANDARD.encode(&signature),
            public_key: STANDARD.encode(key.public_key().as_ref()),
        };
        assert_eq!(verify(b"n-1", &signed), Ok(()));
        assert_eq!(verify(b"n-2", &signed), Err("crypto/rsa: verification error".to_owned()));
        signed.public_key = "!".to_owned();
        assert!(verify(b"n-1", &signed).unwrap_err().starts_with("failed to decode public key"));
    }
}
