//! What guests see of the file system.
//!
//! Folders are opened in the order of their guest paths, so `/` is descriptor 3 and the next one 4.

use crate::support::{Case, Node, PRELUDE, inline, inline_as, local, packed, program, wasm};
use base64::Engine as _;

const ROOT: u32 = 3;

/// Prints a file below an opened folder.
fn cat(folder: u32, path: &str) -> Case {
    wasm(&program(&format!(
        r#"(data (i32.const 64) "{path}")
        (func (export "_start") (call $cat (i32.const {folder}) (i32.const 64) (i32.const {})))"#,
        path.len()
    )))
}

/// Creates a file below an opened folder and writes "new" into it.
fn write(folder: u32, path: &str) -> Case {
    wasm(&program(&format!(
        r#"(data (i32.const 64) "{path}") (data (i32.const 128) "new")
        (func (export "_start")
          (call $print (call $open (i32.const {folder}) (i32.const 64) (i32.const {}) (i32.const 9) (i64.const 64))
            (i32.const 128) (i32.const 3)))"#,
        path.len()
    )))
}

async fn printed(node: &Node, case: Case) -> String {
    let output = node.run(case.execution()).await.unwrap().run_output;
    assert_eq!(output.exit_code, 0, "{output:?}");
    output.stdout
}

/// WASI error number + 100 as exit code.
async fn refused(node: &Node, case: Case) -> bool {
    node.run(case.execution()).await.unwrap().run_output.exit_code > 100
}

#[tokio::test]
async fn an_inline_file_is_at_its_target() {
    let node = Node::new().await;
    let text = inline(b"some text", "/data/in.txt");
    assert_eq!(printed(&node, cat(4, "in.txt").input(text.clone())).await, "some text");
    // Also from the root, for programs that walk down themselves, and in the root.
    assert_eq!(printed(&node, cat(ROOT, "data/in.txt").input(text)).await, "some text");
    assert_eq!(printed(&node, cat(ROOT, "top.txt").input(inline(b"top", "top.txt"))).await, "top");
    assert!(node.leftovers().iter().all(|p| p.to_string_lossy().ends_with(".log")));
}

#[tokio::test]
async fn a_packed_folder_is_at_its_target() {
    let node = Node::new().await;
    let folder = inline_as("application/gzip", &packed(&[("a/b.txt", b"deep")]), "/inputs");
    assert_eq!(printed(&node, cat(4, "a/b.txt").input(folder.clone())).await, "deep");
    assert!(refused(&node, cat(4, "../main.wasm").input(folder)).await);
}

#[tokio::test]
async fn the_root_is_read_only() {
    let node = Node::new().await;
    assert!(refused(&node, write(ROOT, "x")).await);
    assert!(refused(&node, write(ROOT, "main.wasm")).await);
}

#[tokio::test]
async fn host_folders_are_read_only_unless_asked_and_allowed() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("f.txt"), "host").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", host.path().join("out")).unwrap();
    let pattern = format!("{}/**:rw", host.path().display());
    let node = Node::with(|c| c.allow_listed_local_paths = vec![pattern]).await;
    let input = |rw| local(host.path(), "/mnt", rw);

    assert_eq!(printed(&node, cat(4, "f.txt").input(input(false))).await, "host");
    assert!(refused(&node, cat(4, "out").input(input(false))).await);
    assert!(refused(&node, write(4, "f.txt").input(input(false))).await);
    assert_eq!(std::fs::read_to_string(host.path().join("f.txt")).unwrap(), "host");

    assert_eq!(printed(&node, write(4, "f.txt").input(input(true))).await, "");
    assert_eq!(std::fs::read_to_string(host.path().join("f.txt")).unwrap(), "new");
}

#[tokio::test]
async fn a_single_host_file_shows_nothing_beside_it() {
    // In the node's own file system, so that a writable file can be linked.
    let node_dir = tempfile::tempdir().unwrap();
    let pattern = format!("{}/**:rw", node_dir.path().display());
    std::fs::write(node_dir.path().join("f.txt"), "host").unwrap();
    std::fs::write(node_dir.path().join("beside.txt"), "no").unwrap();
    let node = Node::with(|c| c.allow_listed_local_paths = vec![pattern]).await;
    let input = |rw| local(&node_dir.path().join("f.txt"), "/mnt/g.txt", rw);
    let content = || std::fs::read_to_string(node_dir.path().join("f.txt")).unwrap();

    assert_eq!(printed(&node, cat(4, "g.txt").input(input(false))).await, "host");
    assert!(refused(&node, cat(4, "beside.txt").input(input(false))).await);
    assert!(refused(&node, write(4, "g.txt").input(input(false))).await);
    assert_eq!(content(), "host");
    // Beside a writable private file the read-only one is a copy: the host's stays as it is.
    let beside = inline(b"mine", "/mnt/other.txt");
    printed(&node, write(4, "g.txt").input(input(false)).input(beside)).await;
    assert_eq!(content(), "host");

    printed(&node, write(4, "g.txt").input(input(true))).await;
    assert_eq!(content(), "new");
}

#[tokio::test]
async fn results_are_writable_at_their_path_and_at_their_name() {
    let node = Node::new().await;
    // Sorted: `/`, `/by-name`, `/deep/path`.
    for folder in [4, 5] {
        let case = write(folder, "out.txt").result("by-name", "/deep/path").publisher("noop");
        printed(&node, case).await;
    }
    let clash = write(4, "x").result("in", "/data").input(inline(b"x", "/data/f")).publisher("noop");
    let failure = node.run(clash.execution()).await.unwrap_err();
    assert!(failure.error.message.contains("also the target"), "{failure}");
}

#[tokio::test]
async fn programs_share_what_they_only_read() {
    let node = Node::new().await;
    let roots = || std::fs::read_dir(node.dir.path().join("compute/cache/wasm-roots")).unwrap().count();
    for (round, text) in ["one", "two", "one", "two"].into_iter().enumerate() {
        // It is told apart by what it holds, and never by its names alone.
        let case = cat(ROOT, "top.txt").input(inline(text.as_bytes(), "/top.txt"));
        assert_eq!(printed(&node, case).await, text);
        assert_eq!(roots(), (round + 1).min(2));
    }
    // What an execution may change is its own.
    for _ in 0..2 {
        let beside = inline(b"mine", "/data/f.txt");
        assert_eq!(printed(&node, write(4, "new.txt").input(beside)).await, "");
    }
    assert_eq!(roots(), 2);
    // Each has its own results, though they look the same.
    for _ in 0..2 {
        let case = write(4, "out.txt").result("out", "/out").publisher("noop");
        assert_eq!(printed(&node, case).await, "");
    }
    assert_eq!(roots(), 3);
    assert!(node.leftovers().iter().all(|p| p.to_string_lossy().ends_with(".log")));
}

#[tokio::test]
async fn what_is_shared_cannot_be_linked_to_where_one_may_write() {
    let node = Node::new().await;
    let link = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "path_link"
            (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
          {PRELUDE}
          (data (i32.const 64) "main.wasm")
          (func (export "_start")
            (call $check (call $link (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 9)
              (i32.const 4) (i32.const 64) (i32.const 9)))))"#
    );
    assert!(refused(&node, wasm(&link).result("out", "/out").publisher("noop")).await);
}

#[tokio::test]
async fn a_packed_program_is_read_only() {
    let node = Node::new().await;
    let packed_program = |mut case: Case| {
        let source = case.task.input_sources.remove(0).source;
        let url = source.param("URL").unwrap().as_str().unwrap().to_owned();
        let (_, data) = url.split_once("base64,").unwrap();
        let module = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let archive = packed(&[("app.wasm", &module)]);
        case.task.input_sources.insert(0, inline_as("application/gzip", &archive, "/main.wasm"));
        case
    };
    // Folder 4 is `/main.wasm`, with the program in it.
    let read = r#"(data (i32.const 64) "app.wasm")
      (func (export "_start")
        (drop (call $open (i32.const 4) (i32.const 64) (i32.const 8) (i32.const 0) (i64.const 2)))
        (call $print (i32.const 1) (i32.const 64) (i32.const 3)))"#;
    for _ in 0..2 {
        assert_eq!(printed(&node, packed_program(wasm(&program(read)))).await, "app");
        assert!(refused(&node, packed_program(write(4, "app.wasm"))).await);
        assert!(refused(&node, packed_program(write(4, "other"))).await);
    }
}
