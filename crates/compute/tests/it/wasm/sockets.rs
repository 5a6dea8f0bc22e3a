//! Sockets of components: with the host's network or not at all.

use super::{LOWERED, WIT, lowered, program};
use crate::support::{Case, Node};
use bacalhau_model::NetworkType;

/// `wasi:sockets` as far as it takes to connect.
const SOCKETS: &str = r#"
package wasi:sockets@0.2.0 {
  interface network {
    resource network;
    enum error-code {
      unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
      not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use,
      remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
      name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
    }
    enum ip-address-family { ipv4, ipv6 }
    type ipv4-address = tuple<u8, u8, u8, u8>;
    type ipv6-address = tuple<u16, u16, u16, u16, u16, u16, u16, u16>;
    record ipv4-socket-address { port: u16, address: ipv4-address }
    record ipv6-socket-address { port: u16, flow-info: u32, address: ipv6-address, scope-id: u32 }
    variant ip-socket-address { ipv4(ipv4-socket-address), ipv6(ipv6-socket-address) }
  }
  interface instance-network { use network.{network}; instance-network: func() -> network; }
  interface tcp {
    use wasi:io/streams@0.2.0.{input-stream, output-stream};
    use wasi:io/poll@0.2.0.{pollable};
    use network.{network, error-code, ip-socket-address};
    resource tcp-socket {
      start-connect: func(network: borrow<network>, remote-address: ip-socket-address) -> result<_, error-code>;
      finish-connect: func() -> result<tuple<input-stream, output-stream>, error-code>;
      subscribe: func() -> pollable;
    }
  }
  interface tcp-create-socket {
    use network.{error-code, ip-address-family};
    use tcp.{tcp-socket};
    create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
  }
}
"#;

/// Exit codes: connected, or 100 and the number of the error code.
const CONNECTED: i64 = 0;
const ACCESS_DENIED: i64 = 101;

fn connect(port: u16) -> Case {
    let wat = format!(
        r#"(module
  (import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
  (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $create (param i32 i32)))
  (import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-connect"
    (func $start (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.finish-connect" (func $finish (param i32 i32)))
  (import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.subscribe" (func $subscribe (param i32) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  {LOWERED}
  (func $check (param $result i32) (param $code i32)
    (if (local.get $result) (then (call $exit (i32.add (i32.const 100) (local.get $code))))))
  (func (export "wasi:cli/run@0.2.12#run") (result i32) (local $socket i32)
    (call $create (i32.const 0) (i32.const 512))
    (call $check (i32.load8_u (i32.const 512)) (i32.load8_u (i32.const 516)))
    (local.set $socket (i32.load (i32.const 516)))
    (call $start (local.get $socket) (call $network) (i32.const 0) (i32.const {port})
      (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
    (call $check (i32.load8_u (i32.const 512)) (i32.load8_u (i32.const 513)))
    (call $block (call $subscribe (local.get $socket)))
    (call $finish (local.get $socket) (i32.const 512))
    (call $check (i32.load8_u (i32.const 512)) (i32.load8_u (i32.const 516)))
    (i32.const 0)))"#
    );
    let imports = "import wasi:cli/exit@0.2.12; import wasi:cli/stdout@0.2.12; import wasi:sockets/instance-network@0.2.0; import wasi:sockets/tcp-create-socket@0.2.0;";
    let wit = format!(
        "package test:guest;\nworld guest {{ {imports} export wasi:cli/run@0.2.12; }}\n{WIT}{SOCKETS}"
    );
    program(&lowered(&wat, &wit))
}

#[tokio::test]
async fn only_with_the_hosts_network() {
    let node = Node::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (network, domains, code) in [
        (NetworkType::Default, &[][..], CONNECTED),
        (NetworkType::Host, &[], CONNECTED),
        (NetworkType::None, &[], ACCESS_DENIED),
        (NetworkType::Bridge, &[], ACCESS_DENIED),
        (NetworkType::Http, &["127.0.0.1"], ACCESS_DENIED),
    ] {
        let finished = node.run(connect(port).network(network, domains).execution()).await.unwrap();
        assert_eq!(finished.run_output.exit_code, code, "{network}");
    }
}
