//! The wasm engine: components, HTTP of guests, limits, real programs.

mod components;
mod host_module;
mod limits;
mod outgoing;
mod programs;
mod pulled;
mod server;
mod sockets;

use crate::support::{Case, inline, wasm};
use bacalhau_model::{NetworkConfig, NetworkType};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The component of a command for WASI preview 1.
fn componentised(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().module(module).unwrap();
    encoder.adapter(ADAPTER_NAME, ADAPTER).unwrap().encode().unwrap()
}

/// The component of a core module that imports the functions of world `guest` in `wit` as they are lowered.
fn lowered(wat: &str, wit: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_source("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A job that runs these bytes as `/main.wasm`.
fn program(bytes: &[u8]) -> Case {
    let mut case = wasm("(module)");
    case.task.input_sources = vec![inline(bytes, "/main.wasm")];
    case
}

impl Case {
    fn network(mut self, r#type: NetworkType, domains: &[&str]) -> Case {
        let domains = domains.iter().map(|&d| d.to_owned()).collect();
        self.task.network = Some(NetworkConfig { r#type, domains, ..NetworkConfig::default() });
        self
    }
}

/// Packages of WASI as far as the guests here use them.
const WIT: &str = r#"
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
const LOWERED: &str = r#"
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
