//! HTTP requests of preview 1 modules through `wasi:http/requests`, under each type of network.

use super::server;
use crate::support::{Case, Node, PRELUDE, wasm};
use bacalhau_model::NetworkType;

const SUCCESS: i64 = 0;
const INVALID_URL: i64 = 1;
const NETWORK_ERROR: i64 = 2;
const NOT_ALLOWED: i64 = 4;
const TOO_LARGE: i64 = 5;
const BAD_INPUT: i64 = 6;
const MEMORY_ERROR: i64 = 7;

/// One request. Its guest prints headers, a line, and the body, and ends with 100 times the result code, to which the
/// last two digits of the HTTP status are added.
struct Call<'a> {
    method: u32,
    url: &'a str,
    headers: &'a str,
    body: &'a str,
    /// Sizes of the buffers for headers and body, at 20,000 and 30,000.
    buffers: (u32, u32),
    /// Where the body goes.
    body_at: u32,
    /// Pages of memory.
    pages: u32,
}

impl Default for Call<'_> {
    fn default() -> Self {
        Call { method: 0, url: "", headers: "", body: "", buffers: (4096, 8192), body_at: 30_000, pages: 1 }
    }
}

impl Call<'_> {
    fn case(&self) -> Case {
        let Call { method, url, headers, body, buffers: (headers_size, body_size), body_at, pages } = self;
        let at = |text: &str, at: u32| if text.is_empty() { 0 } else { at };
        let (url_length, headers_length, body_length) = (url.len(), headers.len(), body.len());
        let (headers_from, body_from) = (at(headers, 6000), at(body, 8000));
        let text = format!(
            r#"(module (import "wasi:http/requests" "http_request"
                (func $http (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
              {PRELUDE}
              (data (i32.const 2000) "{url}") (data (i32.const 6000) "{headers}") (data (i32.const 8000) "{body}")
              (data (i32.const 9000) "\n--\n")
              (func (export "_start") (local $result i32)
                (drop (memory.grow (i32.sub (i32.const {pages}) (i32.const 1))))
                (i32.store (i32.const 100) (i32.const {headers_size}))
                (i32.store (i32.const 104) (i32.const {body_size}))
                (local.set $result (call $http (i32.const {method}) (i32.const 2000) (i32.const {url_length})
                  (i32.const {headers_from}) (i32.const {headers_length}) (i32.const {body_from}) (i32.const {body_length})
                  (i32.const 20000) (i32.const 100) (i32.const {body_at}) (i32.const 104) (i32.const 108)))
                (if (i32.eqz (local.get $result)) (then
                  (call $print (i32.const 1) (i32.const 20000) (i32.load (i32.const 100)))
                  (call $print (i32.const 1) (i32.const 9000) (i32.const 4))
                  (call $print (i32.const 1) (i32.const {body_at}) (i32.load (i32.const 104)))))
                (call $exit (i32.add (i32.mul (local.get $result) (i32.const 100))
                  (i32.rem_u (i32.load (i32.const 108)) (i32.const 100))))))"#
        );
        wasm(&text)
    }
}

fn get(url: &str) -> Case {
    Call { url, ..Call::default() }.case()
}

/// Runs it and gives the exit code and the body it printed.
async fn run(node: &Node, case: Case) -> (i64, String) {
    let output = node.run(case.execution()).await.unwrap().run_output;
    let body = output.stdout.split_once("\n--\n").map_or("", |(_, body)| body).to_owned();
    (output.exit_code, body)
}

#[tokio::test]
async fn requests_of_all_kinds() {
    let (node, server) = (Node::new().await, server::start().await);
    let base = format!("http://127.0.0.1:{}", server.port);

    let output = node.run(get(&format!("{base}/")).execution()).await.unwrap().run_output;
    assert_eq!(output.exit_code, SUCCESS);
    let (headers, body) = output.stdout.split_once("\n--\n").unwrap();
    assert_eq!(body, "served");
    assert!(headers.lines().any(|line| line == "X-Served-By: test"), "{headers}");
    assert!(headers.lines().any(|line| line == "Content-Length: 6"), "{headers}");

    for (method, name) in
        [(0, "GET"), (1, "POST"), (2, "PUT"), (3, "DELETE"), (4, ""), (5, "OPTIONS"), (6, "PATCH")]
    {
        let call = Call {
            method,
            url: &format!("{base}/echo"),
            headers: r"X-Test: yes\nHost: other.example\nContent-Length: 99",
            body: "data",
            ..Call::default()
        };
        let (code, body) = run(&node, call.case()).await;
        assert_eq!(code, SUCCESS);
        // HEAD has no body.
        if !name.is_empty() {
            assert_eq!(body, format!("{name} host=127.0.0.1:{} x-test=yes body=data", server.port));
        }
    }
    assert_eq!(run(&node, get(&format!("{base}/teapot"))).await, (18, String::new()));
}

#[tokio::test]
async fn what_goes_wrong_has_its_code() {
    let (node, server) = (Node::new().await, server::start().await);
    let base = format!("http://127.0.0.1:{}", server.port);
    let refused = format!("127.0.0.1:{}", crate::test_registry::free_port());
    for (url, result) in [
        ("no url", INVALID_URL),
        ("/relative", INVALID_URL),
        ("ftp://127.0.0.1/", INVALID_URL),
        (&format!("http://{refused}/"), NETWORK_ERROR),
        (&format!("{base}/to?there=/to%3Fthere=/to"), NETWORK_ERROR),
    ] {
        let (code, _) = run(&node, get(url)).await;
        assert_eq!(code / 100, result, "{url}");
    }
    let url = &format!("{base}/");
    let call = |change: fn(&mut Call<'_>)| {
        let mut call = Call { url, ..Call::default() };
        change(&mut call);
        call.case()
    };
    for (case, result) in [
        (call(|c| c.method = 7), BAD_INPUT),
        (call(|c| c.headers = "na me: value"), BAD_INPUT),
        (call(|c| c.body_at = 0), BAD_INPUT),
        // The body does not fit the memory.
        (call(|c| c.body_at = 65_530), SUCCESS),
        (call(|c| c.body_at = 65_531), MEMORY_ERROR),
    ] {
        assert_eq!(run(&node, case).await.0 / 100, result);
    }
}

#[tokio::test]
async fn sizes_are_bounded() {
    let (node, server) = (Node::new().await, server::start().await);
    let url = |bytes: u32| format!("http://127.0.0.1:{}/large?bytes={bytes}", server.port);
    // A buffer that is too small gets the beginning.
    let small = Call { url: &url(10_000), buffers: (50, 1900), ..Call::default() };
    let (code, body) = run(&node, small.case()).await;
    assert_eq!((code, body.len()), (SUCCESS, 1900));
    // More than four fifths of 4 MiB is refused as a whole; at least 64 KiB are always fine.
    let call = |bytes: u32, pages: u32| Call { url: &url(bytes), pages, ..Call::default() }.case();
    assert_eq!(run(&node, call(3 << 20, 64)).await.0, SUCCESS);
    assert_eq!(run(&node, call(7 << 19, 64)).await.0 / 100, TOO_LARGE);
    assert_eq!(run(&node, call(65_536, 1)).await.0, SUCCESS);
    assert_eq!(run(&node, call(65_537, 1)).await.0 / 100, TOO_LARGE);
}

#[tokio::test]
async fn the_network_decides_who_is_reached() {
    let (node, server) = (Node::new().await, server::start().await);
    let url = format!("http://127.0.0.1:{}/", server.port);
    for (network, domains, result) in [
        (NetworkType::Default, &[][..], SUCCESS),
        (NetworkType::Host, &[], SUCCESS),
        (NetworkType::Full, &[], SUCCESS),
        (NetworkType::Bridge, &[], NOT_ALLOWED),
        (NetworkType::Http, &["127.0.0.1"], SUCCESS),
        (NetworkType::Http, &["example.com", "127.0.0.2"], NOT_ALLOWED),
    ] {
        let before = server.hits();
        let (code, _) = run(&node, get(&url).network(network, domains)).await;
        assert_eq!(code / 100, result, "{network}");
        assert_eq!(server.hits() - before, usize::from(result == SUCCESS), "{network}");
    }
    let failure = node.run(get(&url).network(NetworkType::None, &[]).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "unknown module \"wasi:http/requests\"");
    assert!(failure.error.hint.contains("Network.Type"), "{}", failure.error.hint);
    let failure = node.run(get(&url).network(NetworkType::Http, &[]).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "network type HTTP needs at least one domain");
}

#[tokio::test]
async fn neither_redirects_nor_names_lead_out_of_the_list() {
    let (node, server) = (Node::new().await, server::start().await);
    let port = server.port;
    let to = |there: &str| get(&format!("http://127.0.0.1:{port}/to?there={there}"));
    let listed = |case: Case| case.network(NetworkType::Http, &["127.0.0.1", "localhost"]);

    assert_eq!(run(&node, listed(to("/"))).await, (SUCCESS, "served".to_owned()));
    // The address is not listed: the redirect itself is the response, and nobody is asked.
    let before = server.hits();
    let elsewhere = format!("http://127.0.0.2:{port}/");
    assert_eq!(run(&node, listed(to(&elsewhere))).await, (2, "elsewhere".to_owned()));
    assert_eq!(server.hits(), before + 1);

    // A listed name that leads to the node itself needs its address listed as well.
    let by_name = || get(&format!("http://localhost:{port}/"));
    let only_name = by_name().network(NetworkType::Http, &["localhost"]);
    assert_eq!(run(&node, only_name).await.0 / 100, NOT_ALLOWED);
    let both = by_name().network(NetworkType::Http, &["localhost", "127.0.0.1"]);
    assert_eq!(run(&node, both).await, (SUCCESS, "served".to_owned()));
}

#[tokio::test]
async fn a_guest_that_waits_for_a_server_is_stopped() {
    let (node, server) = (Node::new().await, server::start().await);
    let case = get(&format!("http://127.0.0.1:{}/never", server.port)).timeout(1);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
}
