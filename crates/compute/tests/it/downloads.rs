//! `urlDownload` against a small server on loopback.

use crate::support::{Node, local, program, wasm};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use bacalhau_compute::executor::ExecutorConfig;
use bacalhau_compute::sources::DownloadLimits;
use bacalhau_model::{InputSource, SpecConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

struct Server {
    base: String,
    hits: Arc<AtomicUsize>,
}

/// Answers `/flaky/<n>` with 503 the first n times, and several other oddities.
async fn server() -> Server {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    let module = || wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
    let router = Router::new()
        .route("/main.wasm", get(move || async move { module() }))
        .route(
            "/flaky/{failures}",
            get(
                move |method: Method, axum::extract::Path(failures): axum::extract::Path<usize>| async move {
                    if method == Method::HEAD {
                        return StatusCode::METHOD_NOT_ALLOWED.into_response();
                    }
                    if counter.fetch_add(1, Ordering::SeqCst) < failures {
                        return ([(header::RETRY_AFTER, "0")], StatusCode::SERVICE_UNAVAILABLE)
                            .into_response();
                    }
                    module().into_response()
                },
            ),
        )
        .route("/old", get(|| async { Redirect::temporary("/named") }))
        .route(
            "/named",
            get(move || async move {
                let mut headers = HeaderMap::new();
                headers.insert(
                    header::CONTENT_DISPOSITION,
                    r#"attachment; filename="../app.wasm""#.parse().unwrap(),
                );
                (headers, module())
            }),
        )
        .route("/circle", get(|| async { Redirect::temporary("/circle") }))
        .route(
            "/chunked.wasm",
            get(move || async move {
                let parts =
                    module().chunks(7).map(<[u8]>::to_vec).map(Ok::<_, std::io::Error>).collect::<Vec<_>>();
                Response::new(Body::from_stream(futures_util::stream::iter(parts)))
            }),
        )
        .route(
            "/endless",
            any(|| async {
                let zeros = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 1000]));
                Response::new(Body::from_stream(zeros))
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { base, hits }
}

fn limits(config: &mut ExecutorConfig) {
    config.downloads =
        DownloadLimits { read_timeout: Duration::from_secs(20), max_retries: 2, max_bytes: 100_000 };
}

/// A job whose module is downloaded to a folder.
fn job(url: String) -> crate::support::Case {
    let source = SpecConfig::new("urlDownload").with("URL", url);
    let mut case = wasm("(module)").param("EntryModule", "/m");
    case.task.input_sources = vec![InputSource { source, target: "/m".into(), ..InputSource::default() }];
    case
}

#[tokio::test]
async fn files_arrive_under_their_names() {
    let server = server().await;
    let node = Node::with(limits).await;
    for (path, name) in
        [("/main.wasm", "main.wasm"), ("/old", "app.wasm"), ("/chunked.wasm?sig=1", "chunked.wasm")]
    {
        let case = job(format!("{}{path}", server.base));
        node.run(case.clone().param("EntryModule", format!("/m/{name}")).execution()).await.unwrap();
        // The folder alone is enough when there is one module in it.
        node.run(case.execution()).await.unwrap();
    }
    assert!(node.leftovers().is_empty());
}

/// Whoever asks for one of the two files waits until the other one is asked for.
async fn pair() -> String {
    let meeting = Arc::new(tokio::sync::Barrier::new(2));
    let answer = move |method: Method, axum::extract::Path(name): axum::extract::Path<String>| async move {
        if method == Method::GET {
            meeting.wait().await;
        }
        format!("{name} from afar\n")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{name}", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn several_come_at_the_same_time_beside_what_is_local() {
    let (base, host) = (pair().await, tempfile::tempdir().unwrap());
    std::fs::write(host.path().join("c"), "c from here\n").unwrap();
    let pattern = host.path().display().to_string();
    let node = Node::with(|config| config.allow_listed_local_paths = vec![pattern]).await;
    // Folders of the host are opened apart from the root, after it.
    let files = [(3, "in/a"), (3, "in2/b"), (4, "c")];
    let texts =
        files.iter().zip(1..).map(|((_, path), n)| format!("(data (i32.const {}) \"{path}\")", n * 64));
    let calls = files.iter().zip(1..).map(|((folder, path), n)| {
        format!("(call $cat (i32.const {folder}) (i32.const {}) (i32.const {}))", n * 64, path.len())
    });
    let (texts, calls): (String, String) = (texts.collect(), calls.collect());
    let download = |name: &str, target: &str| InputSource {
        source: SpecConfig::new("urlDownload").with("URL", format!("{base}/{name}")),
        target: target.into(),
        ..InputSource::default()
    };
    let case = wasm(&program(&format!("{texts} (func (export \"_start\") {calls})")))
        .input(download("a", "/in"))
        .input(download("b", "/in2"))
        .input(local(host.path(), "/here", false));
    let output = crate::support::in_time(node.run(case.execution())).await.unwrap().run_output;
    assert_eq!(output.stdout, "a from afar\nb from afar\nc from here\n", "{output:?}");
}

#[tokio::test]
async fn sizes_are_asked_for_but_not_required() {
    let server = server().await;
    let node = Node::with(limits).await;
    let probe =
        async |path: &str| node.executor.probe(&job(format!("{}{path}", server.base)).execution()).await;
    assert!(probe("/main.wasm").await.unwrap().disk_bytes > 8);
    assert_eq!(probe("/main.wasm").await.unwrap().remote_inputs, 1);
    assert_eq!(probe("/flaky/0").await.unwrap().disk_bytes, 0);
    assert_eq!(probe("/chunked.wasm").await.unwrap().disk_bytes, 0);
    assert!(probe("/missing").await.unwrap_err().message.contains("404"));
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    let server = server().await;
    let node = Node::with(limits).await;
    let run = async |path: &str| {
        server.hits.store(0, Ordering::SeqCst);
        let case = job(format!("{}{path}", server.base));
        let result = node.run(case.execution()).await;
        (result, server.hits.load(Ordering::SeqCst))
    };
    // Its name has no `.wasm`, so only the download itself is of interest.
    let (result, hits) = run("/flaky/2").await;
    assert!(result.unwrap_err().error.message.contains("module not found"));
    assert_eq!(hits, 3);
    let (result, hits) = run("/flaky/9").await;
    let error = result.unwrap_err().error;
    assert!(error.message.contains("after 3 attempts") && error.retryable, "{error}");
    assert_eq!(hits, 3);
    for (path, words) in [("/missing", "404"), ("/circle", "redirects"), ("/endless", "larger")] {
        let error = run(path).await.0.unwrap_err().error;
        assert!(error.message.contains(words) && !error.retryable, "{error}");
    }
    assert!(node.leftovers().is_empty());
}

#[tokio::test]
async fn nobody_listening_is_worth_another_try() {
    let node = Node::with(|c| {
        limits(c);
        c.downloads.max_retries = 0;
    })
    .await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let case = job(url);
    let error = node.run(case.clone().execution()).await.unwrap_err().error;
    assert!(error.retryable && error.message.contains("cannot connect"), "{error}");
    assert!(node.executor.probe(&case.execution()).await.unwrap_err().retryable);
}

#[tokio::test]
async fn a_download_can_be_cancelled() {
    let server = server().await;
    let node = Node::with(|c| c.downloads.max_bytes = u64::MAX).await;
    let (cancel, task) = node.start(job(format!("{}/endless", server.base)).execution());
    // Something of it is on disk: it is under way.
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while node.leftovers().is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let failure = crate::support::in_time(task).await.unwrap().unwrap_err();
    assert!(failure.is_cancelled());
    assert!(node.leftovers().is_empty());
}
