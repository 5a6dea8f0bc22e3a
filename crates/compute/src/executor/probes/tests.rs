//! What commands and URLs say about jobs.

use super::*;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use std::sync::Arc;

fn execution() -> Execution {
    let job = Job { id: "j-1".into(), name: "a job".into(), ..Job::default() };
    Execution { id: "e-1".into(), job: Some(Arc::new(job)), ..Execution::default() }
}

async fn exec(command: &str, timeout: Duration) -> Result<(), Error> {
    let config = ProbeConfig { exec: command.into(), timeout, ..ProbeConfig::default() };
    Probes::new(config).ask(&execution()).await
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn settings_that_cannot_work_are_named() {
    let key = |exec: &str, http: &str, seconds| {
        let timeout = Duration::from_secs(seconds);
        ProbeConfig { exec: exec.into(), http: http.into(), timeout }.check().err().map(|(key, _)| key)
    };
    assert_eq!(key("", "", 0), None);
    assert_eq!(key("true", "https://probe.example/jobs", 1), None);
    assert_eq!(key("true", "", 0), Some("JobAdmissionControl.ProbeTimeout"));
    for url in ["probe.example", "file:///etc/passwd", "http://", "127.0.0.1:80"] {
        assert_eq!(key("", url, 1), Some("JobAdmissionControl.ProbeHTTP"), "{url}");
    }
    let secret = ProbeConfig { http: "ftp://user:hidden@host/".into(), ..ProbeConfig::default() };
    assert!(!secret.check().unwrap_err().1.contains("hidden"));
}

#[tokio::test]
async fn a_command_decides() {
    Probes::new(ProbeConfig::default()).ask(&execution()).await.unwrap();
    exec("true", PATIENCE).await.unwrap();
    // The job is in both places, and nothing of the node's environment but the way to programs.
    let same = r#"read -r line; [ "$line" = "$BACALHAU_JOB_SELECTION_PROBE_DATA" ] && [ -n "$PATH" ] && [ -z "$HOME" ]"#;
    exec(same, PATIENCE).await.unwrap();
    exec(r#"[[ $(cat) == '{"Job":{'*'"Name":"a job"'* ]]"#, PATIENCE).await.unwrap();
    let error = exec("echo 'not at night,' >&2; echo sorry >&2; exit 7", PATIENCE).await.unwrap_err();
    assert_eq!((error.message.as_str(), error.retryable), ("not at night, sorry", false));
    let error = exec("exit 7", PATIENCE).await.unwrap_err();
    assert_eq!(error.message, "the node's probe ended with exit code 7");
}

#[tokio::test]
async fn a_command_that_cannot_tell_is_no_refusal() {
    for (command, timeout) in [("kill -9 $$", PATIENCE), ("sleep 3600 & wait", Duration::from_millis(10))] {
        let error = exec(command, timeout).await.unwrap_err();
        assert!(error.retryable, "{error}");
        assert!(error.hint.contains("JobAdmissionControl.ProbeExec"), "{}", error.hint);
    }
}

#[tokio::test]
async fn a_large_job_is_on_standard_input() {
    let job = Job { id: "j".into(), name: "x".repeat(1 << 20), ..Job::default() };
    let execution = Execution { job: Some(Arc::new(job)), ..Execution::default() };
    let check = r#"[ -z "$BACALHAU_JOB_SELECTION_PROBE_DATA" ] && [ "$(wc -c)" -gt 1000000 ]"#;
    let config = ProbeConfig { exec: check.into(), timeout: PATIENCE, ..ProbeConfig::default() };
    Probes::new(config).ask(&execution).await.unwrap();
}

async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let json = |text: &'static str| ([("content-type", "application/json; charset=utf-8")], text);
    let routes = Router::new()
        .route("/plain", post(|| async { "fine" }))
        .route(
            "/echo",
            post(move |body: String| async move {
                let known = body.contains(r#""Name":"a job""#);
                json(if known { r#"{"ShouldBid": true}"# } else { r#"{"ShouldBid": false}"# })
            }),
        )
        .route("/no", post(move || async move { json(r#"{"ShouldBid": false, "Reason": "not today"}"#) }))
        .route("/nothing", post(move || async move { json("{}") }))
        .route("/broken", post(move || async move { json("{") }))
        .route("/forbidden", post(|| async { (StatusCode::FORBIDDEN, "secret") }))
        .route("/hangs", post(|| async { std::future::pending::<&'static str>().await }))
        .route(
            "/long",
            post(move || async move { ([("content-type", "application/json")], "x".repeat(2 << 20)) }),
        );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://user:hidden@{address}")
}

#[tokio::test]
async fn a_url_decides() {
    let url = serve().await;
    let ask = |path: &str| {
        let timeout = if path == "/hangs" { Duration::from_millis(50) } else { PATIENCE };
        let config = ProbeConfig { http: format!("{url}{path}"), timeout, ..ProbeConfig::default() };
        async move { Probes::new(config).ask(&execution()).await }
    };
    for path in ["/plain", "/echo"] {
        ask(path).await.unwrap();
    }
    for (path, reason) in [
        ("/no", "not today"),
        ("/nothing", "the node's probe does not want the job"),
        ("/forbidden", "the node's probe answered with HTTP status 403"),
    ] {
        let error = ask(path).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.retryable), (reason, false), "{path}");
    }
    for path in ["/broken", "/hangs", "/long"] {
        let error = ask(path).await.unwrap_err();
        assert!(error.retryable && !error.to_string().contains("hidden"), "{path}: {error}");
    }
    let config = ProbeConfig { http: "http://user:hidden@127.0.0.1:1/".into(), ..ProbeConfig::default() };
    let error = Probes::new(config).ask(&execution()).await.unwrap_err();
    assert!(error.retryable && !error.message.contains("hidden"), "{error}");
}
