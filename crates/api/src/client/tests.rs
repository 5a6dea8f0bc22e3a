//! The client against a small server that says what the real one would, on loopback.

use super::types::Alive;
use super::{Client, Credential, Endpoint, Identity, JobQuery, LogEvent, LogQuery, NodesQuery};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bacalhau_model::{BuildVersion, Job};

async fn job(Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    if id == "gone" {
        let body = r#"{"Status":404,"Message":"job not found: gone","RequestID":"","Code":"NotFound","Component":"JobStore"}"#;
        return (StatusCode::NOT_FOUND, body).into_response();
    }
    format!(r#"{{"Job":{{"ID":"{id}","Name":"{}","Future":1}}}}"#, query.unwrap_or_default()).into_response()
}

async fn submit(headers: HeaderMap, body: String) -> String {
    let who = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("nobody");
    let version = headers.get("x-bacalhau-git-version").and_then(|v| v.to_str().ok()).unwrap_or("none");
    let force = body.contains(r#""Force":true"#) && body.contains(r#""StateType":"Undefined""#);
    format!(r#"{{"JobID":"{who} {version} {force}","EvaluationID":"e","Warnings":null}}"#)
}

async fn logs(Path(id): Path<String>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let frames = match id.as_str() {
            "broken" => vec![],
            "ok" => vec![r#"{"value":{"Type":1,"Line":"out\n"}}"#, r#"{"value":{"Type":2,"Line":"err\n"}}"#],
            _ => vec![r#"{"error":"job not found: x","value":{"Type":0,"Line":""}}"#],
        };
        for frame in frames {
            let _ = socket.send(Message::Text(frame.into())).await;
        }
        let code = if id == "broken" { 1011 } else { 1000 };
        let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
        while socket.recv().await.is_some() {}
    })
}

async fn serve() -> (Client, tokio::task::JoinHandle<()>) {
    let router = Router::new()
        .route("/api/v1/agent/alive", get(|| async { r#"{"status":"OK"}"# }))
        .route("/api/v1/orchestrator/nodes", get(|| async { r#"{"Nodes":null}"# }))
        .route("/api/v1/orchestrator/jobs", put(submit))
        .route("/api/v1/orchestrator/jobs/{id}", get(job))
        .route("/api/v1/orchestrator/jobs/{id}/logs", get(logs));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (client(&url), task)
}

fn client(url: &str) -> Client {
    let endpoint = Endpoint { url: url.to_owned(), ..Endpoint::default() };
    let identity = Identity {
        version: BuildVersion { git_version: "v1.9.3".to_owned(), ..BuildVersion::default() },
        ..Identity::default()
    };
    Client::new(&endpoint, &identity, Some(&Credential::Bearer("key".to_owned()))).unwrap()
}

#[tokio::test]
async fn questions_and_answers() {
    let (client, _server) = serve().await;
    assert_eq!(client.agent_alive().await.unwrap(), Alive { status: "OK".to_owned() });
    assert!(client.nodes(&NodesQuery::default()).await.unwrap().is_empty());
    let answer = client.submit(&Job::default(), true).await.unwrap();
    assert_eq!(answer.job_id, "Bearer key v1.9.3 true");
    assert!(answer.warnings.is_empty());
    let query = JobQuery { namespace: "a b".to_owned(), version: 2, include: "history", without_job: false };
    let found = client.job("x/../y", &query).await.unwrap().job;
    assert_eq!(found.id, "x/../y");
    assert_eq!(found.name, "namespace=a+b&job_version=2&include=history");
}

#[tokio::test]
async fn refusals_and_silence() {
    let (client_up, _server) = serve().await;
    let error = client_up.job("gone", &JobQuery::default()).await.unwrap_err();
    assert_eq!((error.message.as_str(), error.http_status()), ("job not found: gone", 404));
    assert!(!error.retryable);
    // Whoever has an address and does not listen refuses, and nobody else gets it meanwhile.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    let error = client(&url).agent_alive().await.unwrap_err();
    assert_eq!(error.message, format!("server is not running or not reachable at {url}"));
    assert!(error.retryable && error.hint.contains("--api-host"));
}

#[tokio::test]
async fn log_streams() {
    let (client, _server) = serve().await;
    let mut stream = client.logs("ok", &LogQuery::default()).await.unwrap();
    let LogEvent::Line(out) = stream.next().await.unwrap().unwrap() else { panic!() };
    let LogEvent::Line(err) = stream.next().await.unwrap().unwrap() else { panic!() };
    assert!(!stream.has_details());
    assert_eq!((out.text.as_str(), out.is_stderr), ("out\n", false));
    assert_eq!((err.text.as_str(), err.is_stderr), ("err\n", true));
    assert!(stream.next().await.is_none());
    let mut stream = client.logs("other", &LogQuery::default()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap_err().message, "job not found: x");
    assert!(stream.next().await.is_none());
    let mut stream = client.logs("broken", &LogQuery::default()).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap_err().retryable);
    assert!(stream.next().await.is_none());
}
