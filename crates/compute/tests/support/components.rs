//! Components for tests, made from text. Used by the tests of several crates.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Exit codes of a component that calls: the HTTP status less 200, or this and the number of the error code.
pub const ERROR: i64 = 160;
pub const CONNECTION_REFUSED: i64 = ERROR + 6;
pub const READ_TIMEOUT: i64 = ERROR + 9;
pub const DENIED: i64 = ERROR + 15;
pub const RESPONSE_TIMEOUT: i64 = ERROR + 33;

/// The component of a command for WASI preview 1.
pub fn componentised(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().module(module).unwrap();
    encoder.adapter(ADAPTER_NAME, ADAPTER).unwrap().encode().unwrap()
}

/// The component of a core module that imports the functions of world `guest` in `wit` as they are lowered.
pub fn lowered(wat: &str, wit: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_source("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// Packages of WASI as far as the guests here use them.
pub const WIT: &str = r#"
package wasi:io@0.2.0 {
  interface error { resource error; }
  interface poll { resource pollable { block: func(); } }
  interface streams {
    use error.{error};
    use poll.{pollable};
    variant stream-error { last-operation-failed(error), closed }
    resource input-stream { blocking-read: func(len: u64) -> result<list<u8>, stream-error>; }
    resource output-stream {
      blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
    }
  }
}
package wasi:cli@0.2.12 {
  interface exit { exit-with-code: func(status-code: u8); }
  interface run { run: func() -> result; }
  interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
}
"#;

/// What every lowered guest imports, its memory, and `$print(address, length)`.
pub const LOWERED: &str = r#"
  (import "wasi:cli/exit@0.2.12" "exit-with-code" (func $exit (param i32)))
  (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func $print (param $at i32) (param $length i32)
    (call $write (call $stdout) (local.get $at) (local.get $length) (i32.const 16)))
"#;

/// The part of `wasi:http` a request needs.
pub const HTTP: &str = r#"
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
pub struct Call<'a> {
    /// Number in `method`.
    pub method: u32,
    pub authority: &'a str,
    pub path: &'a str,
    pub body: &'a str,
    /// Time for the response in nanoseconds.
    pub timeout: u64,
}

impl Call<'_> {
    pub fn component(&self) -> Vec<u8> {
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
        lowered(&wat, &wit)
    }
}
