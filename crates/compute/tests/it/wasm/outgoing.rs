//! HTTP requests of components through `wasi:http`, under each type of network.

use super::{LOWERED, WIT, lowered, program, server};
use crate::support::{Case, Node};
use bacalhau_model::NetworkType;

/// Exit codes of the guest: the HTTP status less 200, or this and the number of the error code.
const ERROR: i64 = 160;
const CONNECTION_REFUSED: i64 = ERROR + 6;
const READ_TIMEOUT: i64 = ERROR + 9;
const DENIED: i64 = ERROR + 15;
const RESPONSE_TIMEOUT: i64 = ERROR + 33;

/// The part of `wasi:http` a request needs.
const HTTP: &str = r#"
package wasi:http@0.2.0 {
  interface types {
    use wasi:io/streams@0.2.0.{input-stream, output-stream};
    use wasi:io/poll@0.2.0.{pollable};
    variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
    variant scheme { HTTP, HTTPS, other(string) }
    record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
    record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
    record field-size-payload { field-name: option<string>, field-size: option<u32> }
    variant error-code {
      DNS-timeout, DNS-error(DNS-error-payload), destination-not-found, destination-unavailable,
      destination-IP-prohibited, destination-IP-unroutable, connection-refused, connection-terminated,
      connection-timeout, connection-read-timeout, connection-write-timeout, connection-limit-reached,
      TLS-protocol-error, TLS-certificate-error, TLS-alert-received(TLS-alert-received-payload),
      HTTP-request-denied, HTTP-request-length-required, HTTP-request-body-size(option<u64>),
      HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,
      HTTP-request-header-section-size(option<u32>), HTTP-request-header-size(option<field-size-payload>),
      HTTP-request-trailer-section-size(option<u32>), HTTP-request-trailer-size(field-size-payload),
      HTTP-response-incomplete, HTTP-response-header-section-size(option<u32>),
      HTTP-response-header-size(field-size-payload), HTTP-response-body-size(option<u64>),
      HTTP-response-trailer-section-size(option<u32>), HTTP-response-trailer-size(field-size-payload),
      HTTP-response-transfer-coding(option<string>), HTTP-response-content-coding(option<string>),
      HTTP-response-timeout, HTTP-upgrade-failed, HTTP-protocol-error, loop-detected, configuration-error,
      internal-error(option<string>),
    }
    resource fields { constructor(); }
    resource outgoing-body {
      write: func() -> result<output-stream>;
      finish: static func(this: outgoing-body, trailers: option<fields>) -> result<_, error-code>;
    }
    resource outgoing-request {
      constructor(headers: fields);
      body: func() -> result<outgoing-body>;
      set-method: func(method: method) -> result;
      set-scheme: func(scheme: option<scheme>) -> result;
      set-authority: func(authority: option<string>) -> result;
      set-path-with-query: func(path-with-query: option<string>) -> result;
    }
    resource request-options {
      constructor();
      set-first-byte-timeout: func(duration: option<u64>) -> result;
    }
    resource incoming-body { %stream: func() -> result<input-stream>; }
    resource incoming-response { status: func() -> u16; consume: func() -> result<incoming-body>; }
    resource future-incoming-response {
      subscribe: func() -> pollable;
      get: func() -> option<result<result<incoming-response, error-code>>>;
    }
  }
  interface outgoing-handler {
    use types.{outgoing-request, request-options, future-incoming-response, error-code};
    handle: func(request: outgoing-request, options: option<request-options>)
      -> result<future-incoming-response, error-code>;
  }
}
"#;

/// One request of a component. It prints the body of the response.
struct Call<'a> {
    /// Number in `method`.
    method: u32,
    authority: &'a str,
    path: &'a str,
    body: &'a str,
    /// Time for the response in nanoseconds.
    timeout: u64,
}

impl Call<'_> {
    fn case(&self) -> Case {
        let Call { method, authority, path, body, timeout } = self;
        let (authority_length, path_length, body_length) = (authority.len(), path.len(), body.len());
        let wat = format!(
            r#"(module
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
    (func $method (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
    (func $path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.body" (func $body (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $out (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish" (func $finish (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[constructor]request-options" (func $options (result i32)))
  (import "wasi:http/types@0.2.0" "[method]request-options.set-first-byte-timeout"
    (func $timeout (param i32 i32 i64) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $handle (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
    (func $subscribe (param i32) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.status" (func $status (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-response.consume" (func $consume (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
  {LOWERED}
  (data (i32.const 1000) "{authority}") (data (i32.const 2000) "{path}") (data (i32.const 3000) "{body}")
  (func $must (param i32) (if (local.get 0) (then unreachable)))
  (func (export "wasi:cli/run@0.2.12#run") (result i32)
    (local $request i32) (local $body i32) (local $stream i32) (local $options i32) (local $future i32)
    (local $response i32)
    (local.set $request (call $request (call $fields)))
    (call $must (call $method (local.get $request) (i32.const {method}) (i32.const 0) (i32.const 0)))
    (call $must (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
    (call $must (call $authority (local.get $request) (i32.const 1) (i32.const 1000) (i32.const {authority_length})))
    (call $must (call $path (local.get $request) (i32.const 1) (i32.const 2000) (i32.const {path_length})))
    (call $body (local.get $request) (i32.const 512))
    (local.set $body (i32.load (i32.const 516)))
    (local.set $options (call $options))
    (call $must (call $timeout (local.get $options) (i32.const 1) (i64.const {timeout})))
    (call $handle (local.get $request) (i32.const 1) (local.get $options) (i32.const 512))
    (if (i32.load8_u (i32.const 512))
      (then (call $exit (i32.add (i32.const {ERROR}) (i32.load8_u (i32.const 520))))))
    (local.set $future (i32.load (i32.const 520)))
    (if (i32.const {body_length}) (then
      (call $out (local.get $body) (i32.const 512))
      (local.set $stream (i32.load (i32.const 516)))
      (call $write (local.get $stream) (i32.const 3000) (i32.const {body_length}) (i32.const 512))
      (call $drop (local.get $stream))))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 512))
    (call $block (call $subscribe (local.get $future)))
    (call $get (local.get $future) (i32.const 512))
    (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable))
    (call $must (i32.load8_u (i32.const 520)))
    (if (i32.load8_u (i32.const 528))
      (then (call $exit (i32.add (i32.const {ERROR}) (i32.load8_u (i32.const 536))))))
    (local.set $response (i32.load (i32.const 536)))
    (call $consume (local.get $response) (i32.const 512))
    (call $must (i32.load8_u (i32.const 512)))
    (call $stream (i32.load (i32.const 516)) (i32.const 512))
    (call $must (i32.load8_u (i32.const 512)))
    (local.set $stream (i32.load (i32.const 516)))
    (block $end (loop $more
      (call $read (local.get $stream) (i64.const 1024) (i32.const 512))
      (br_if $end (i32.load8_u (i32.const 512)))
      (call $print (i32.load (i32.const 516)) (i32.load (i32.const 520)))
      (br $more)))
    (call $exit (i32.sub (call $status (local.get $response)) (i32.const 200)))
    unreachable))"#
        );
        let imports = "import wasi:cli/exit@0.2.12; import wasi:cli/stdout@0.2.12; import wasi:http/outgoing-handler@0.2.0;";
        let wit = format!(
            "package test:guest;\nworld guest {{ {imports} export wasi:cli/run@0.2.12; }}\n{WIT}{HTTP}"
        );
        program(&lowered(&wat, &wit))
    }
}

fn get(authority: &str, path: &str) -> Case {
    Call { method: 0, authority, path, body: "", timeout: 20_000_000_000 }.case()
}

async fn run(node: &Node, case: Case) -> (i64, String) {
    let output = node.run(case.execution()).await.unwrap().run_output;
    (output.exit_code, output.stdout)
}

#[tokio::test]
async fn requests_are_answered() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = &format!("127.0.0.1:{}", server.port);
    assert_eq!(run(&node, get(authority, "/")).await, (0, "served".to_owned()));
    let post = Call { method: 2, authority, path: "/echo?x", body: "data", timeout: 20_000_000_000 };
    assert_eq!(run(&node, post.case()).await, (0, format!("POST host={authority} x-test=- body=data")));
    // More than the guest's memory, read piece by piece; the record keeps the beginning.
    assert_eq!(run(&node, get(authority, "/large?bytes=40000")).await.0, 0);
}

#[tokio::test]
async fn redirects_are_the_guests_business() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = format!("127.0.0.1:{}", server.port);
    assert_eq!(run(&node, get(&authority, "/to?there=/")).await, (102, "elsewhere".to_owned()));
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn the_network_decides_who_is_reached() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = format!("127.0.0.1:{}", server.port);
    for (network, domains, code) in [
        (NetworkType::Default, &[][..], 0),
        (NetworkType::Host, &[], 0),
        (NetworkType::Full, &[], 0),
        (NetworkType::None, &[], DENIED),
        (NetworkType::Bridge, &[], DENIED),
        (NetworkType::Http, &["127.0.0.1"], 0),
        (NetworkType::Http, &["example.com", "127.0.0.2"], DENIED),
    ] {
        let before = server.hits();
        let found = run(&node, get(&authority, "/").network(network, domains)).await.0;
        assert_eq!(found, code, "{network}");
        assert_eq!(server.hits() - before, usize::from(code == 0), "{network}");
    }
    let by_name = get(&format!("localhost:{}", server.port), "/").network(NetworkType::Http, &["localhost"]);
    assert_eq!(run(&node, by_name).await.0, DENIED);
}

#[tokio::test]
async fn what_goes_wrong_has_its_code() {
    let (node, server) = (Node::new().await, server::start().await);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(run(&node, get(&nobody, "/")).await.0, CONNECTION_REFUSED);
    let authority = &format!("127.0.0.1:{}", server.port);
    let impatient = Call { method: 0, authority, path: "/never", body: "", timeout: 50_000_000 };
    assert!([READ_TIMEOUT, RESPONSE_TIMEOUT].contains(&run(&node, impatient.case()).await.0));
    let failure = node.run(get(authority, "/never").timeout(1).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
}
