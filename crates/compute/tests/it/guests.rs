//! How guests run and end.

use crate::support::{Node, SLEEP, SPIN, hello, in_time, program, wasm};
use bacalhau_compute::logs::ReadOptions;
use bacalhau_model::event::topic;

#[tokio::test]
async fn output_is_captured_and_nothing_but_the_log_stays() {
    let node = Node::new().await;
    let execution = wasm(&hello("hello")).execution();
    let id = execution.id.clone();
    let finished = node.run(execution).await.unwrap();
    assert_eq!(finished.run_output.stdout, "hello");
    assert_eq!(finished.run_output.exit_code, 0);
    assert!(!finished.run_output.stdout_truncated);
    assert_eq!(node.leftovers(), [std::path::PathBuf::from(format!("{id}.log"))]);
}

#[tokio::test]
async fn a_silent_job_leaves_nothing_at_all() {
    let node = Node::new().await;
    let silent = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let finished = node.run(wasm(silent).execution()).await.unwrap();
    assert_eq!(finished, Default::default());
    assert!(!node.dir.path().join("compute/executions").exists());
}

#[tokio::test]
async fn exit_codes_are_results_and_not_failures() {
    let node = Node::new().await;
    for code in [0u32, 1, 42, 126, 255, u32::MAX] {
        let body = format!(r#"(func (export "_start") (call $exit (i32.const {})))"#, code.cast_signed());
        let finished = node.run(wasm(&program(&body)).execution()).await.unwrap();
        assert_eq!(finished.run_output.exit_code, i64::from(code));
    }
}

#[tokio::test]
async fn arguments_and_environment_arrive() {
    // Prints all arguments, then all variables, each with its NUL.
    let body = r#"
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $as (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "args_get" (func $ag (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_sizes_get" (func $es (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_get" (func $eg (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $print (param $length i32)
        (i32.store (i32.const 0) (i32.const 8192))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
      (func (export "_start")
        (drop (call $as (i32.const 16) (i32.const 20)))
        (drop (call $ag (i32.const 4096) (i32.const 8192)))
        (call $print (i32.load (i32.const 20)))
        (drop (call $es (i32.const 16) (i32.const 20)))
        (drop (call $eg (i32.const 4096) (i32.const 8192)))
        (call $print (i32.load (i32.const 20))))"#;
    let node = Node::with(|c| c.env_allow_list = vec!["CARGO_PKG_*".into()]).await;
    let case = wasm(&format!("(module {body})"))
        .param("Parameters", vec!["one", "two words"])
        .env("COLOUR", "blue")
        .env("CRATE", "env:CARGO_PKG_NAME");
    let mut execution = case.execution();
    execution.partition_index = 7;
    let id = execution.id.clone();
    let output = node.run(execution).await.unwrap().run_output.stdout;
    let parts: Vec<&str> = output.split_terminator('\0').collect();
    assert_eq!(&parts[..3], ["", "one", "two words"]);
    for expected in [
        "COLOUR=blue",
        "BACALHAU_PARTITION_INDEX=7",
        "BACALHAU_JOB_TYPE=batch",
        &format!("BACALHAU_EXECUTION_ID={id}"),
    ] {
        assert!(parts.contains(&expected), "{expected} in {parts:?}");
    }
    if std::env::var("CARGO_PKG_NAME").is_ok() {
        assert!(parts.contains(&"CRATE=bacalhau-compute"), "{parts:?}");
    }
}

#[tokio::test]
async fn guests_that_never_end_are_cancelled_while_they_run() {
    let node = Node::new().await;
    let spin = program(
        r#"(data (i32.const 64) "z")
        (func (export "_start") (call $print (i32.const 1) (i32.const 64) (i32.const 1)) (loop $l (br $l)))"#,
    );
    for module in [spin.as_str(), SLEEP] {
        let execution = wasm(module).execution();
        let logs = node.executor.logs().clone();
        logs.expect(&execution.id);
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let mut output = logs.read(&execution.id, options).unwrap().unwrap();
        let (cancel, task) = node.start(execution);
        assert!(in_time(output.next()).await.unwrap().is_some());
        cancel.cancel();
        let failure = in_time(task).await.unwrap().unwrap_err();
        assert!(failure.is_cancelled(), "{failure}");
        assert_eq!(failure.run_output.unwrap().stdout, "z");
    }
}

#[tokio::test]
async fn what_runs_too_long_is_stopped_with_words() {
    let node = Node::new().await;
    for module in [SPIN, SLEEP] {
        let failure = node.run(wasm(module).timeout(1).execution()).await.unwrap_err();
        assert_eq!(failure.topic, topic::RUNNING_EXECUTION);
        assert_eq!(failure.error.message, "Execution timed out after 1s");
        assert!(failure.error.retryable && !failure.error.hint.is_empty());
    }
}

#[tokio::test]
async fn a_service_has_no_time_limit() {
    let node = Node::new().await;
    let mut case = wasm(SPIN).timeout(1);
    case.job_type = "service";
    let (cancel, task) = node.start(case.execution());
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(!task.is_finished());
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_start_function_that_never_ends_is_stopped_too() {
    let module = r#"(module (func $spin (loop $l (br $l))) (start $spin) (func (export "_start")))"#;
    let failure = Node::new().await.run(wasm(module).timeout(1).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_told_apart() {
    let node = Node::new().await;
    // Grows by a page until refused, then gives up as an allocator would.
    let grow = r#"(module (memory (export "memory") 1) (func (export "_start")
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))"#;
    let failure = node.run(wasm(grow).memory(1 << 20).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("memory limit exceeded"), "{failure}");
    assert_eq!(failure.run_output.unwrap().exit_code, 1);

    let large = r#"(module (memory (export "memory") 100) (func (export "_start")))"#;
    let failure = node.run(wasm(large).memory(1 << 20).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("memory limit exceeded"), "{failure}");
    node.run(wasm(large).memory(100 << 16).execution()).await.unwrap();

    // A program that copes with the refusal ends as it likes.
    let copes = r#"(module (memory (export "memory") 1) (func (export "_start")
      (drop (memory.grow (i32.const 1000)))))"#;
    node.run(wasm(copes).memory(1 << 20).execution()).await.unwrap();

    let failure = node.run(wasm(large).memory(5 << 30).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "requested memory exceeds the wasm limit - 5.00 GB > 4.00 GB");
}

#[tokio::test]
async fn a_trap_is_a_failure_in_words_with_the_output_so_far() {
    let body = r#"(data (i32.const 64) "so far")
      (func $broken (unreachable))
      (func $main (export "_start") (call $print (i32.const 2) (i32.const 64) (i32.const 6)) (call $broken))"#;
    let failure = Node::new().await.run(wasm(&program(body)).execution()).await.unwrap_err();
    assert_eq!(failure.topic, topic::RUNNING_EXECUTION);
    let text = &failure.error.message;
    assert!(text.contains("unreachable") && text.contains("broken"), "{text}");
    let output = failure.run_output.unwrap();
    assert_eq!((output.exit_code, output.stderr.as_str()), (1, "so far"));
    assert_eq!(&output.error_msg, text);
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let module = r#"(module (func $deep (call $deep) (call $deep)) (func (export "_start") (call $deep)))"#;
    let failure = Node::new().await.run(wasm(module).execution()).await.unwrap_err();
    assert!(failure.error.message.contains("stack"), "{failure}");
}

#[tokio::test]
async fn long_output_is_cut_in_the_record_only() {
    // 3 times 1000 bytes of 'x'.
    let body = r#"(func (export "_start")
      (memory.fill (i32.const 64) (i32.const 120) (i32.const 1000))
      (call $print (i32.const 1) (i32.const 64) (i32.const 1000))
      (call $print (i32.const 1) (i32.const 64) (i32.const 1000))
      (call $print (i32.const 1) (i32.const 64) (i32.const 1000)))"#;
    let finished = Node::new().await.run(wasm(&program(body)).execution()).await.unwrap();
    assert_eq!(finished.run_output.stdout, "x".repeat(2048));
    assert!(finished.run_output.stdout_truncated && !finished.run_output.stderr_truncated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let node = Node::new().await;
    let runs = (0..100).map(|n| {
        let text = format!("job {n}");
        let execution = wasm(&hello(&text)).execution();
        async { (node.run(execution).await.unwrap().run_output.stdout, text) }
    });
    for (printed, expected) in futures_util::future::join_all(runs).await {
        assert_eq!(printed, expected);
    }
}

#[tokio::test]
async fn waiting_works_for_clocks_and_streams() {
    // Two subscriptions: a clock an hour away and standard output, which is ready at once. Then 20 ms alone.
    // Exits with the number of events of both calls, the kind of the first and whether the clock went on.
    let module = r#"(module
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 3600000000000))
        (i32.store8 (i32.const 56) (i32.const 2)) (i32.store (i32.const 64) (i32.const 1))
        (if (call $poll (i32.const 0) (i32.const 256) (i32.const 2) (i32.const 512)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 266)) (i32.const 2)) (then unreachable))
        (drop (call $time (i32.const 1) (i64.const 1) (i32.const 600)))
        (i64.store (i32.const 24) (i64.const 20000000))
        (if (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 516)) (then unreachable))
        (drop (call $time (i32.const 1) (i64.const 1) (i32.const 608)))
        (if (i64.lt_u (i64.sub (i64.load (i32.const 608)) (i64.load (i32.const 600))) (i64.const 20000000))
          (then unreachable))
        (if (i32.ne (call $poll (i32.const 65530) (i32.const 0) (i32.const 1) (i32.const 0)) (i32.const 21))
          (then unreachable))
        (call $exit (i32.add (i32.load (i32.const 512)) (i32.load (i32.const 516))))))"#;
    assert_eq!(Node::new().await.run(wasm(module).execution()).await.unwrap().run_output.exit_code, 2);
}

#[tokio::test]
async fn one_that_is_cancelled_before_it_starts_does_not_disturb_the_next() {
    let node = Node::new().await;
    let (cancel, task) = node.start(wasm(SPIN).execution());
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(node.run(wasm(&hello("next")).execution()).await.unwrap().run_output.stdout, "next");
}
