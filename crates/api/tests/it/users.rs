//! Access with users, and the login that needs none.

use crate::fake::Fake;
use crate::support::{NODE_ID, ask, get, parts, serve, start};
use bacalhau_api::server::{AuthConfig, Server};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn users_are_asked_for_credentials() {
    let users = json!([{"APIKey": "0123456789abcdefghij", "Capabilities": [{"Actions": ["read:job"]}]}]);
    let auth = AuthConfig::from_json(users).unwrap();
    let server = start(Server::new(parts(&Arc::new(Fake::default()))).auth(auth)).await;
    let jobs = "/api/v1/orchestrator/jobs";
    let refused = ask(&server, &format!("GET {jobs}"), "X-Request-ID: r\r\n", "").await;
    assert_eq!(
        refused.body,
        "{\"Status\":401,\"Message\":\"Request Unauthorized\",\"RequestID\":\"r\",\"Code\":\"Unauthorized\",\
         \"Component\":\"Authorizer\",\"Hint\":\"Unauthorized principal. Event has been recorded.\",\
         \"Details\":{\"reason\":\"Missing Authorization header\"}}\n"
    );
    assert!(refused.header("www-authenticate").is_some());
    let key = "Authorization: Bearer 0123456789abcdefghij\r\n";
    assert_eq!(ask(&server, &format!("GET {jobs}"), key, "").await.status, 200);
    let forbidden = ask(&server, &format!("PUT {jobs}"), key, "{}").await;
    assert_eq!((forbidden.status, forbidden.message().as_str()), (403, "Request Forbidden"));
    assert_eq!(
        forbidden.json()["Hint"],
        "Check if user have access to this resource. Event has been recorded."
    );
    // Unknown paths tell nothing to strangers; log streams are refused before the upgrade.
    assert_eq!(get(&server, "/nothing").await.status, 401);
    let upgrade =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    assert_eq!(ask(&server, &format!("GET {jobs}/j/logs"), upgrade, "").await.status, 401);
    for open in ["/api/v1/agent/alive", "/api/v1/agent/version", "/api/v1/agent/authconfig"] {
        assert_eq!(get(&server, open).await.status, 200);
    }
    assert_eq!(get(&server, "/api/v1/auth").await.body, "{\"NextToken\":\"\",\"Methods\":{}}\n");
}

#[tokio::test]
async fn the_challenge() {
    let (server, _) = serve(Fake::default()).await;
    let list = get(&server, "/api/v1/auth").await.json();
    use base64::Engine;
    let phrase = base64::engine::general_purpose::STANDARD.encode(NODE_ID);
    assert_eq!(list["Methods"]["clientkey"]["params"]["InputPhrase"], phrase);
    let post = |data: &'static str| {
        let server = &server;
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        async move {
            let body = json!({"Name": "clientkey", "MethodData": data}).to_string();
            ask(server, "POST /api/v1/auth/clientkey", "", &body).await
        }
    };
    let junk = post(r#"{"PhraseSignature":"","PublicKey":"aGVsbG8="}"#).await;
    assert_eq!(junk.status, 401);
    assert!(
        junk.body
            .starts_with("{\"Authentication\":{\"success\":false,\"reason\":\"failed to decode public key:"),
        "{junk:?}"
    );
    assert_eq!(post("nonsense").await.status, 400);
    let missing = ask(&server, "POST /api/v1/auth/clientkey", "", "{}").await;
    assert_eq!(missing.message(), "invalid authentication data: unexpected end of JSON input");
    let own = include_str!("../../src/server/testdata/challenge.txt");
    let field = |name: &str| own.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    let data =
        json!({"PhraseSignature": field("PhraseSignature"), "PublicKey": field("PublicKey")}).to_string();
    let data = base64::engine::general_purpose::STANDARD.encode(data);
    let body = json!({"name": "clientkey", "methodData": data}).to_string();
    // A good signature of another orchestrator's phrase.
    let wrong = ask(&server, "POST /api/v1/auth/clientkey", "", &body).await;
    assert_eq!(wrong.json()["Authentication"]["reason"], "crypto/rsa: verification error");
}

#[tokio::test]
async fn pages_from_elsewhere_make_no_credentials() {
    let (server, _) = serve(Fake::default()).await;
    let path = "/api/v1/orchestrator/credentials/n";
    for (origin, status) in [
        ("", 404),
        ("Origin: http://x\r\n", 404),
        ("Origin: http://elsewhere\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        for method in ["PUT", "DELETE"] {
            let answer = ask(&server, &format!("{method} {path}"), origin, "{\"PublicKey\":\"U\"}").await;
            assert_eq!(answer.status, status, "{origin} {}", answer.body);
        }
    }
}
