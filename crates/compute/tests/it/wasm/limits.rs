//! What a guest can take from its node is bounded, and its time is its own.

use super::{componentised, program};
use crate::support::{Node, SPIN, in_time, inline, program as text, wasm};
use bacalhau_compute::executor::Phase;
use bacalhau_compute::logs::ReadOptions;

#[tokio::test]
async fn fuel_counts_instructions() {
    let node = Node::new().await;
    let failure = node.run(wasm(SPIN).param("Fuel", 100_000).execution()).await.unwrap_err();
    assert_eq!(
        failure.error.message,
        "fuel limit exceeded: the module executed more than 100000 instructions"
    );
    assert!(failure.error.fails_execution && failure.error.hint.contains("Fuel"));
    assert_eq!(failure.run_output.unwrap().exit_code, 1);
    let component = componentised(&wat::parse_str(SPIN).unwrap());
    let failure = node.run(program(&component).param("Fuel", 100_000).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("fuel limit exceeded"), "{failure}");

    let short = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    node.run(wasm(short).param("Fuel", 100).execution()).await.unwrap();
    // 0 is what a form sends that was left empty.
    node.run(wasm(short).param("Fuel", 0).execution()).await.unwrap();
    let failure = node.run(wasm(short).param("Fuel", "much").execution()).await.unwrap_err();
    assert!(failure.error.message.contains("invalid wasm engine params"), "{failure}");
}

#[tokio::test]
async fn a_guest_cannot_open_files_without_end() {
    // Opens the same file over and over; both kinds are ended before the node has none left.
    let body = r#"(data (i32.const 64) "in/a.txt")
      (func (export "_start")
        (loop $more (drop (call $open (i32.const 3) (i32.const 64) (i32.const 8) (i32.const 0) (i64.const 2)))
          (br $more)))"#;
    let module = wat::parse_str(text(body)).unwrap();
    let node = Node::new().await;
    for bytes in [module.clone(), componentised(&module)] {
        let case = program(&bytes).input(inline(b"x", "/in/a.txt"));
        let failure = node.run(case.execution()).await;
        match failure {
            Err(failure) => {
                assert!(failure.error.message.contains("the module holds more than"), "{failure}")
            }
            // The adapter of a component has a table of its own, and tells the program when it is full.
            Ok(finished) => assert!(finished.run_output.exit_code != 0),
        }
    }
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 1000, "{open} files are open");
}

#[tokio::test]
async fn tables_and_stacks_are_bounded() {
    let node = Node::new().await;
    let table = r#"(module (table $t 1 funcref) (memory (export "memory") 1) (func (export "_start")
      (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000000)) (i32.const -1))))
      unreachable))"#;
    let failure = node.run(wasm(table).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("table limit exceeded"), "{failure}");

    let deep = r#"(module (memory (export "memory") 1) (func $deep (call $deep) (call $deep))
      (func (export "_start") (call $deep)))"#;
    let component = componentised(&wat::parse_str(deep).unwrap());
    let failure = node.run(program(&component).execution()).await.unwrap_err();
    assert!(failure.error.message.contains("stack"), "{failure}");
}

#[tokio::test]
async fn what_does_not_fit_the_pool_runs_beside_it() {
    let node = Node::new().await;
    // Two tables, two memories: more than the pool has for one module.
    let wide = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (memory 1) (table 1 funcref) (table 1 funcref)
      (func (export "_start") (call $exit (i32.const 5))))"#;
    assert_eq!(node.run(wasm(wide).execution()).await.unwrap().run_output.exit_code, 5);
    // More at once than the pool has places.
    let sleep = r#"(module
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 300000000))
        (drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))))"#;
    let runs = (0..100).map(|_| node.run(wasm(sleep).execution()));
    for result in futures_util::future::join_all(runs).await {
        assert_eq!(result.unwrap().run_output.exit_code, 0);
    }
}

#[tokio::test]
async fn files_are_read_in_pieces_of_any_size() {
    // 200 MiB of memory, and a buffer of 150 MiB for a file of one byte.
    let body = r#"(data (i32.const 64) "in/a.txt")
      (func (export "_start") (local $fd i32)
        (if (i32.eq (memory.grow (i32.const 3200)) (i32.const -1)) (then unreachable))
        (local.set $fd (call $open (i32.const 3) (i32.const 64) (i32.const 8) (i32.const 0) (i64.const 2)))
        (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 157286400))
        (call $check (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.load (i32.const 8))))"#;
    let case = wasm(&text(body)).input(inline(b"x", "/in/a.txt"));
    assert_eq!(Node::new().await.run(case.execution()).await.unwrap().run_output.exit_code, 1);
}

/// A module that takes seconds to compile: many functions of many instructions.
fn slow_to_compile() -> Vec<u8> {
    let body = "(i32.add (i32.mul (local.get 0) (i32.const 3)) (local.get 0)) (local.set 0)".repeat(500);
    let functions = (0..200).map(|n| {
        format!("(func $f{n} (param i32) (result i32) {body} (i32.xor (local.get 0) (i32.const {n})))")
    });
    let functions: String = functions.collect();
    let text = format!(
        r#"(module (memory (export "memory") 1) {functions} (func (export "_start") (drop (call $f7 (i32.const 1)))))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_to_compile_is_no_time_of_the_guest() {
    let node = Node::new().await;
    let module = slow_to_compile();
    // Cancelled while it compiles, it ends at once; the compilation goes on by itself and serves the next.
    let (cancel, task) = node.start(program(&module).timeout(1).execution());
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());

    let (result, phases) = node.run_with_phases(program(&module).timeout(1).execution()).await;
    assert_eq!(result.unwrap().run_output.exit_code, 0);
    assert!(phases.contains(&Phase::Running), "{phases:?}");
}

#[tokio::test]
async fn one_whose_execution_is_dropped_stops() {
    let node = Node::new().await;
    let spin = text(
        r#"(data (i32.const 64) "z")
        (func (export "_start") (loop $l (call $print (i32.const 1) (i32.const 64) (i32.const 1)) (br $l)))"#,
    );
    let execution = program(&wat::parse_str(spin).unwrap()).execution();
    let logs = node.executor.logs().clone();
    logs.expect(&execution.id);
    let mut output = logs.read(&execution.id, ReadOptions { follow: true, ..ReadOptions::default() });
    let output = output.as_mut().unwrap().as_mut().unwrap();
    let (_cancel, task) = node.start(execution);
    assert!(in_time(output.next()).await.unwrap().is_some());
    task.abort();
    // The log ends when the last who writes it is gone.
    while in_time(output.next()).await.unwrap().is_some() {}
}

#[tokio::test]
async fn long_names_make_short_errors() {
    let node = Node::new().await;
    let long = "n".repeat(90_000);
    let exports: String = (0..10).map(|n| format!(r#"(func (export "{n}{long}"))"#)).collect();
    let failure = node.run(wasm(&format!("(module {exports})")).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("unable to find the entrypoint"), "{failure}");
    assert!(failure.error.hint.len() < 3000);
    let unknown = format!(r#"(module (import "{long}" "f" (func)) (func (export "_start")))"#);
    let failure = node.run(wasm(&unknown).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("unknown module \"nnn") && failure.error.message.len() < 3000);
    let deep = format!(
        r#"(module (func $a{long} unreachable) (func $b{long} (call $a{long})) (func (export "_start") (call $b{long})))"#
    );
    let failure = node.run(wasm(&deep).execution()).await.unwrap_err();
    let (a, b) = (failure.error.message.find("annn"), failure.error.message.find("bnnn"));
    assert!(a.is_some() && a < b && failure.error.message.len() < 3000, "{failure}");
}
