//! Results, from the guest's files to an archive that somebody downloads.

use crate::support::{Node, hello, program, wasm};
use bacalhau_compute::executor::Phase;
use bacalhau_model::event::topic;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;

fn unpacked(archive: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), text);
    }
    files
}

async fn get(url: &str) -> (u16, Vec<u8>) {
    let response = client().get(url).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[tokio::test]
async fn results_are_published_and_served() {
    // Prints to both streams, writes a file into its result folder, exits with 3.
    let body = r#"(data (i32.const 64) "out") (data (i32.const 80) "err") (data (i32.const 96) "file.txt")
      (func (export "_start")
        (call $print (i32.const 1) (i32.const 64) (i32.const 3))
        (call $print (i32.const 2) (i32.const 80) (i32.const 3))
        (call $print (call $open (i32.const 4) (i32.const 96) (i32.const 8) (i32.const 1) (i64.const 64))
          (i32.const 64) (i32.const 3))
        (call $print (i32.const 1) (i32.const 64) (i32.const 1))
        (call $exit (i32.const 3)))"#;
    let node = Node::new().await;
    let execution = wasm(&program(body)).result("outputs", "/outputs").publisher("Local").execution();
    let id = execution.id.clone();
    let (result, phases) = node.run_with_phases(execution).await;
    let finished = result.unwrap();
    assert_eq!(phases, [Phase::Running, Phase::Publishing]);
    assert_eq!(finished.run_output.exit_code, 3);
    assert_eq!(finished.published_result.r#type, "urlDownload");
    let url = finished.published_result.param("URL").unwrap().as_str().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with(&format!("/{id}.tar.gz")), "{url}");

    let (status, archive) = get(&url).await;
    assert_eq!(status, 200);
    let expected = [
        ("exitCode", "3"),
        ("outputs", ""),
        ("outputs/file.txt", "out"),
        ("stderr", "err"),
        ("stdout", "outo"),
    ];
    let expected: BTreeMap<String, String> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(unpacked(&archive), expected);
    assert_eq!(node.leftovers(), [std::path::PathBuf::from(format!("{id}.log"))]);

    let head = client().head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], archive.len().to_string());
}

#[tokio::test]
async fn the_server_shows_published_files_only() {
    let node = Node::new().await;
    let finished = node.run(wasm(&hello("x")).publisher("local").execution()).await.unwrap();
    let url = finished.published_result.param("URL").unwrap().as_str().unwrap().to_owned();
    let base = url.rsplit_once('/').unwrap().0;
    let folder = node.dir.path().join("compute/results/local-publisher");
    std::fs::write(folder.join("secret.txt"), "s").unwrap();
    std::fs::create_dir(folder.join("d.tar.gz")).unwrap();
    for path in [
        "",
        "/",
        "/secret.txt",
        "/..%2f..%2fexecutions",
        "/%2e%2e/x.tar.gz",
        "/d.tar.gz",
        "/none.tar.gz",
        "/a/b.tar.gz",
    ] {
        assert_eq!(get(&format!("{base}{path}")).await.0, 404, "{path}");
    }
    assert_eq!(get(&url).await.0, 200);
}

#[tokio::test]
async fn a_result_that_cannot_be_published_is_a_failure_with_its_output() {
    let node = Node::new().await;
    let folder = node.dir.path().join("compute/results");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("local-publisher"), "in the way").unwrap();
    let failure = node.run(wasm(&hello("x")).publisher("local").execution()).await.unwrap_err();
    assert_eq!(failure.topic, topic::PUBLISHING_RESULTS);
    assert!(failure.error.message.starts_with("failed to publish result: "), "{failure}");
    assert_eq!(failure.run_output.unwrap().stdout, "x");
}

#[tokio::test]
async fn noop_says_so_and_no_publisher_says_nothing() {
    let node = Node::new().await;
    let finished = node.run(wasm(&hello("x")).publisher("noop").execution()).await.unwrap();
    assert_eq!(finished.published_result.r#type, "noop");
    let (result, phases) = node.run_with_phases(wasm(&hello("x")).execution()).await;
    assert!(result.unwrap().published_result.is_empty());
    assert_eq!(phases, [Phase::Running]);
}

#[tokio::test]
async fn a_taken_port_takes_the_publisher_away_and_nothing_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = Node::with(|c| c.local_publisher.port = port).await;
    assert_eq!(node.executor.publishers(), ["noop"]);
    node.run(wasm(&hello("x")).execution()).await.unwrap();
}
