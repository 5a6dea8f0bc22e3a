//! Components run like modules: the same output, exit codes, arguments, files, limits and errors.

use super::{LOWERED, WIT, componentised, lowered, program};
use crate::support::{Node, PRELUDE, SLEEP, SPIN, hello, in_time, inline, inline_wat, program as text};
use bacalhau_compute::logs::ReadOptions;

fn component(wat: &str) -> Vec<u8> {
    componentised(&wat::parse_str(wat).unwrap())
}

/// Exports `wasi:cli/run`, which gives this result: 0 for ok, 1 for an error.
fn returning(result: u32) -> Vec<u8> {
    let wit = format!("package test:guest;\nworld guest {{ export wasi:cli/run@0.2.12; }}\n{WIT}");
    let wat = format!(
        r#"(module (memory (export "memory") 1)
          (func (export "wasi:cli/run@0.2.12#run") (result i32) (i32.const {result})))"#
    );
    lowered(&wat, &wit)
}

#[tokio::test]
async fn output_and_exit_codes() {
    let node = Node::new().await;
    let finished = node.run(program(&component(&hello("hello"))).execution()).await.unwrap();
    assert_eq!((finished.run_output.stdout.as_str(), finished.run_output.exit_code), ("hello", 0));
    for code in [0, 1, 42] {
        let body = format!(r#"(func (export "_start") (call $exit (i32.const {code})))"#);
        let finished = node.run(program(&component(&text(&body))).execution()).await.unwrap();
        // A WASI 0.2 program built with an older adapter can only say whether it went well.
        assert!([code, i64::from(code != 0)].contains(&finished.run_output.exit_code), "{code}");
    }
    for code in [0u32, 1] {
        let finished = node.run(program(&returning(code)).execution()).await.unwrap();
        assert_eq!(finished.run_output.exit_code, i64::from(code));
    }
    let wit = format!(
        "package test:guest;\nworld guest {{ import wasi:cli/exit@0.2.12; import wasi:cli/stdout@0.2.12; export wasi:cli/run@0.2.12; }}\n{WIT}"
    );
    let exits = format!(
        r#"(module {LOWERED} (data (i32.const 64) "bye")
          (func (export "wasi:cli/run@0.2.12#run") (result i32)
            (call $print (i32.const 64) (i32.const 3)) (call $exit (i32.const 77)) unreachable))"#
    );
    let finished = node.run(program(&lowered(&exits, &wit)).execution()).await.unwrap();
    assert_eq!((finished.run_output.stdout.as_str(), finished.run_output.exit_code), ("bye", 77));
}

#[tokio::test]
async fn arguments_environment_inputs_and_results() {
    // Copies an input to a result: /in/a.txt to /out/b.txt. Folders: 3 is `/`, 4 `/in`, 5 `/out`.
    let body = r#"(data (i32.const 64) "in/a.txtb.txt")
      (func (export "_start") (local $to i32)
        (call $cat (i32.const 3) (i32.const 64) (i32.const 8))
        (local.set $to (call $open (i32.const 5) (i32.const 72) (i32.const 5) (i32.const 1) (i64.const 64)))
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
        (call $check (call $fd_write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 8))))"#;
    let node = Node::new().await;
    let case = program(&component(&text(body)))
        .input(inline(b"content", "/in/a.txt"))
        .result("out", "/out")
        .publisher("local");
    let finished = node.run(case.execution()).await.unwrap();
    assert_eq!(finished.run_output.stdout, "content");

    let body = r#"
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $as (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "args_get" (func $ag (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_sizes_get" (func $es (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_get" (func $eg (param i32 i32) (result i32)))"#;
    let main = r#"(func (export "_start")
        (drop (call $as (i32.const 16) (i32.const 20)))
        (drop (call $ag (i32.const 4096) (i32.const 8192)))
        (call $print (i32.const 1) (i32.const 8192) (i32.load (i32.const 20)))
        (drop (call $es (i32.const 16) (i32.const 20)))
        (drop (call $eg (i32.const 4096) (i32.const 8192)))
        (call $print (i32.const 1) (i32.const 8192) (i32.load (i32.const 20))))"#;
    let case = program(&component(&format!("(module {body} {PRELUDE} {main})")))
        .param("Parameters", vec!["one", "two words"])
        .env("COLOUR", "blue");
    let output = node.run(case.execution()).await.unwrap().run_output.stdout;
    let parts: Vec<&str> = output.split_terminator('\0').collect();
    assert_eq!(&parts[..3], ["", "one", "two words"]);
    assert!(parts.contains(&"COLOUR=blue"), "{parts:?}");
}

#[tokio::test]
async fn those_that_never_end_are_stopped() {
    let node = Node::new().await;
    for module in [SPIN, SLEEP] {
        let failure = node.run(program(&component(module)).timeout(1).execution()).await.unwrap_err();
        assert_eq!(failure.error.message, "Execution timed out after 1s");
    }
    let spin = text(
        r#"(data (i32.const 64) "z")
        (func (export "_start") (call $print (i32.const 1) (i32.const 64) (i32.const 1)) (loop $l (br $l)))"#,
    );
    for module in [spin.as_str(), SLEEP] {
        let execution = program(&component(module)).execution();
        let logs = node.executor.logs().clone();
        logs.expect(&execution.id);
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let mut output = logs.read(&execution.id, options).unwrap().unwrap();
        let (cancel, task) = node.start(execution);
        assert!(in_time(output.next()).await.unwrap().is_some());
        cancel.cancel();
        assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn limits_and_traps_are_told_in_words() {
    let node = Node::new().await;
    let grow = r#"(module (memory (export "memory") 1) (func (export "_start")
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))"#;
    let failure = node.run(program(&component(grow)).memory(4 << 20).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("memory limit exceeded"), "{failure}");

    let body = r#"(func $broken (unreachable)) (func $main (export "_start") (call $broken))"#;
    let failure = node.run(program(&component(&text(body))).execution()).await.unwrap_err();
    let message = &failure.error.message;
    assert!(message.contains("unreachable") && message.contains("broken"), "{message}");
    assert_eq!(failure.run_output.unwrap().exit_code, 1);
}

#[tokio::test]
async fn entrypoints_of_components() {
    let node = Node::new().await;
    let wit = "package test:guest;\nworld guest { export go: func(); export fails: func() -> result; export two: func(x: u32); }";
    let wat = r#"(module (memory (export "memory") 1) (func (export "go"))
      (func (export "fails") (result i32) (i32.const 1)) (func (export "two") (param i32)))"#;
    let library = lowered(wat, wit);
    for (entrypoint, exit_code) in [("go", 0), ("fails", 1)] {
        let case = program(&library).param("Entrypoint", entrypoint);
        assert_eq!(node.run(case.execution()).await.unwrap().run_output.exit_code, exit_code);
    }
    let message = async |entrypoint: &str| {
        let case = program(&library).param("Entrypoint", entrypoint);
        node.run(case.execution()).await.unwrap_err().error
    };
    assert_eq!(
        message("_start").await.message,
        "the component is no command: it does not export wasi:cli/run@0.2"
    );
    assert!(message("_start").await.hint.contains("go"));
    assert_eq!(message("nope").await.message, "unable to find the entrypoint 'nope' in the component");
    assert!(message("two").await.message.contains("takes parameters"));
}

#[tokio::test]
async fn imports_that_nobody_offers_are_named() {
    let node = Node::new().await;
    let case = |import: &str, wit: &str| {
        let wat = format!(r#"(module (import "{import}" "f" (func)) (memory (export "memory") 1))"#);
        program(&lowered(&wat, &format!("package test:guest;\nworld guest {{ import {import}; }}\n{wit}")))
    };
    let own = case("acme:shop/till@1.0.0", "package acme:shop@1.0.0 { interface till { f: func(); } }");
    let failure = node.run(own.execution()).await.unwrap_err();
    assert!(failure.error.message.ends_with("unknown import \"acme:shop/till@1.0.0\""), "{failure}");

    let later = case("wasi:cli/run@0.3.0", "package wasi:cli@0.3.0 { interface run { f: func(); } }");
    let failure = node.run(later.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("this node offers WASI 0.2"), "{failure}");

    let other = case("wasi:nn/tensor@0.2.0", "package wasi:nn@0.2.0 { interface tensor { f: func(); } }");
    let failure = node.run(other.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("unknown import \"wasi:nn/tensor@0.2.0\""), "{failure}");
    assert!(failure.error.hint.contains("sockets"), "{}", failure.error.hint);
}

#[tokio::test]
async fn modules_and_components_do_not_mix() {
    let node = Node::new().await;
    let case = program(&component(&hello("x")))
        .input(inline_wat("(module)", "/lib.wasm"))
        .param("ImportModules", vec!["/lib.wasm"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("ImportModules is for modules"), "{failure}");

    let main = r#"(module (import "lib" "f" (func)) (func (export "_start")))"#;
    let case = program(&wat::parse_str(main).unwrap())
        .input(inline(&component(&hello("x")), "/lib.wasm"))
        .param("ImportModules", vec!["/lib.wasm"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "\"/lib.wasm\" is a component; a module can import from modules only");
}
