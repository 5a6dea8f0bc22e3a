//! Which modules run: entry, entrypoints, imports.

use crate::support::{Node, hello, inline, inline_as, inline_wat, packed, wasm};

const MATH: &str = r#"(module $math (func (export "answer") (result i32) (i32.const 42)))"#;

fn caller(module: &str) -> String {
    format!(
        r#"(module (import "{module}" "answer" (func $answer (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (func (export "_start") (call $exit (call $answer))))"#
    )
}

#[tokio::test]
async fn entrypoints() {
    let node = Node::new().await;
    let module = r#"(module (memory (export "memory") 1) (func (export "go") (result i32) (i32.const 5))
      (func (export "two") (param i32)))"#;
    let go = node.run(wasm(module).param("Entrypoint", "go").execution()).await.unwrap();
    assert_eq!(go.run_output.exit_code, 0);

    let failure = node.run(wasm(module).param("Entrypoint", "nope").execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "unable to find the entrypoint 'nope' in the WASM module");
    assert!(failure.error.hint.contains("go, two"), "{}", failure.error.hint);
    let failure = node.run(wasm(module).param("Entrypoint", "memory").execution()).await.unwrap_err();
    assert!(failure.error.message.contains("unable to find the entrypoint"), "{failure}");
    let failure = node.run(wasm(module).param("Entrypoint", "two").execution()).await.unwrap_err();
    assert!(failure.error.message.contains("takes parameters"), "{failure}");
}

#[tokio::test]
async fn broken_and_missing_modules() {
    let node = Node::new().await;
    let mut case = wasm("(module)");
    case.task.input_sources = vec![inline(b"\0asm garbage", "/main.wasm")];
    let failure = node.run(case.clone().execution()).await.unwrap_err();
    assert!(failure.error.message.contains("failed to load module \"/main.wasm\""), "{failure}");

    case.task.input_sources = vec![inline(b"\0asm\x0d\0\x01\0", "/main.wasm")];
    let failure = node.run(case.clone().execution()).await.unwrap_err();
    assert!(failure.error.message.contains("component"), "{failure}");

    let failure = node.run(case.param("EntryModule", "/other.wasm").execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "module not found \"/other.wasm\"");

    let old = r#"(module (import "wasi_unstable" "proc_exit" (func (param i32))) (func (export "_start")))"#;
    let failure = node.run(wasm(old).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "unknown module \"wasi_unstable\"");

    let odd = r#"(module (import "wasi_snapshot_preview1" "nonsense" (func)) (func (export "_start")))"#;
    let failure = node.run(wasm(odd).execution()).await.unwrap_err();
    assert!(failure.error.message.contains("nonsense"), "{failure}");
}

#[tokio::test]
async fn the_entry_module_may_be_a_folder_with_one_module() {
    let node = Node::new().await;
    let module = wat::parse_str(hello("packed")).unwrap();
    let mut case = wasm("(module)").param("EntryModule", "main.wasm");
    case.task.input_sources =
        vec![inline_as("application/gzip", &packed(&[("app.wasm", &module), ("README", b"x")]), "main.wasm")];
    assert_eq!(node.run(case.clone().execution()).await.unwrap().run_output.stdout, "packed");

    case = case.param("EntryModule", "/main.wasm/app.wasm");
    assert_eq!(node.run(case.clone().execution()).await.unwrap().run_output.stdout, "packed");

    case = case.param("EntryModule", "/main.wasm");
    case.task.input_sources = vec![inline_as(
        "application/gzip",
        &packed(&[("a.wasm", &module), ("b.wasm", &module)]),
        "/main.wasm",
    )];
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("more than one .wasm"), "{failure}");
}

#[tokio::test]
async fn imports_are_found_by_every_name_of_a_module() {
    let node = Node::new().await;
    for name in ["/lib/maths.wasm", "lib/maths.wasm", "maths.wasm", "maths", "math"] {
        let case = wasm(&caller(name))
            .input(inline_wat(MATH, "/lib/maths.wasm"))
            .param("ImportModules", vec!["/lib/maths.wasm"]);
        let finished = node.run(case.execution()).await.unwrap_or_else(|f| panic!("{name}: {f}"));
        assert_eq!(finished.run_output.exit_code, 42, "{name}");
    }
    // A path among the inputs needs no listing; another name does.
    let by_path = wasm(&caller("lib/maths.wasm")).input(inline_wat(MATH, "/lib/maths.wasm"));
    assert_eq!(node.run(by_path.execution()).await.unwrap().run_output.exit_code, 42);
    let unlisted = wasm(&caller("math")).input(inline_wat(MATH, "/lib/maths.wasm"));
    let failure = node.run(unlisted.execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "unknown module \"math\"");
}

#[tokio::test]
async fn imports_are_linked_recursively_and_once() {
    // `counter` counts in a global; `a` and `b` both add one. Were it instantiated twice, the sum would be 1.
    let counter = r#"(module (global $n (mut i32) (i32.const 0))
      (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#;
    let adder = r#"(module (import "counter" "next" (func $next (result i32)))
      (func (export "add") (result i32) (call $next)))"#;
    let main = r#"(module (import "a" "add" (func $a (result i32))) (import "b" "add" (func $b (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "_start") (drop (call $a)) (call $exit (call $b))))"#;
    let node = Node::new().await;
    let case = wasm(main)
        .input(inline_wat(counter, "/counter.wasm"))
        .input(inline_wat(adder, "/a.wasm"))
        .input(inline_wat(adder, "/b.wasm"))
        .param("ImportModules", vec!["/a.wasm", "/b.wasm", "/counter.wasm"]);
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.exit_code, 2);
}

#[tokio::test]
async fn circles_and_wrong_types_are_explained() {
    let node = Node::new().await;
    let circle = |other: &str| format!(r#"(module (import "{other}" "f" (func)) (func (export "f")))"#);
    let case = wasm(r#"(module (import "a" "f" (func)) (func (export "_start")))"#)
        .input(inline_wat(&circle("b"), "/a.wasm"))
        .input(inline_wat(&circle("a"), "/b.wasm"))
        .param("ImportModules", vec!["/a.wasm", "/b.wasm"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("circle"), "{failure}");

    let wrong = r#"(module (import "maths" "answer" (func (param i64))) (func (export "_start")))"#;
    let case = wasm(wrong).input(inline_wat(MATH, "/maths.wasm")).param("ImportModules", vec!["/maths.wasm"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("cannot link"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compiled_modules_survive_on_disk() {
    let node = Node::new().await;
    node.run(wasm(&hello("cached")).execution()).await.unwrap();
    let cache = node.dir.path().join("compute/cache/wasm");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&cache).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert!(walk(&cache) > 0);
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.map(|e| if e.file_type().unwrap().is_dir() { walk(&e.path()) } else { 1 }).sum()
}
