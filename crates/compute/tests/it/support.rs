//! A node in a temporary folder, jobs for it, and guests in text form.

use bacalhau_compute::executor::{Executor, ExecutorConfig, Failure, Finished, Phase, RunContext};
use bacalhau_model::{
    AllocatedResources, Execution, InputSource, Job, Resources, ResultPath, SpecConfig, Task,
};
use base64::Engine as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time anything in these tests may take; generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An executor with its folder.
pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) executor: Executor,
}

impl Node {
    pub(crate) async fn new() -> Node {
        Node::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ExecutorConfig)) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ExecutorConfig::new(dir.path().join("compute"));
        config.local_publisher.port = 0;
        change(&mut config);
        let executor = Executor::open(config).await.unwrap();
        Node { dir, executor }
    }

    pub(crate) async fn run(&self, execution: Execution) -> Result<Finished, Failure> {
        let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
        in_time(self.executor.run(Arc::new(execution), context)).await
    }

    /// Runs and returns the phases seen as well.
    pub(crate) async fn run_with_phases(
        &self,
        execution: Execution,
    ) -> (Result<Finished, Failure>, Vec<Phase>) {
        let phases = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&phases);
        let phase = Arc::new(move |phase| seen.lock().unwrap().push(phase));
        let context = RunContext { cancel: CancellationToken::new(), phase };
        let result = in_time(self.executor.run(Arc::new(execution), context)).await;
        let phases = phases.lock().unwrap().clone();
        (result, phases)
    }

    /// Starts a run that the test will cancel.
    pub(crate) fn start(
        &self,
        execution: Execution,
    ) -> (CancellationToken, tokio::task::JoinHandle<Result<Finished, Failure>>) {
        let cancel = CancellationToken::new();
        let context = RunContext { cancel: cancel.clone(), phase: Arc::new(|_| {}) };
        let executor = self.executor.clone();
        let task = tokio::spawn(async move { executor.run(Arc::new(execution), context).await });
        (cancel, task)
    }

    /// Everything below the folder of executions, relative.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let folder = self.dir.path().join("compute/executions");
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().file_name().into()).collect();
        found.sort();
        found
    }
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Builds executions.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) task: Task,
    pub(crate) memory: u64,
    pub(crate) job_type: &'static str,
}

/// A job that runs this module as `/main.wasm`.
pub(crate) fn wasm(wat: &str) -> Case {
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("Wasm").with("EntryModule", "/main.wasm"),
        input_sources: vec![inline_wat(wat, "/main.wasm")],
        ..Task::default()
    };
    Case { task, memory: 0, job_type: "batch" }
}

impl Case {
    pub(crate) fn param(mut self, key: &str, value: impl Into<serde_json::Value>) -> Case {
        self.task.engine = self.task.engine.with(key, value);
        self
    }

    pub(crate) fn input(mut self, input: InputSource) -> Case {
        self.task.input_sources.push(input);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Case {
        self.task.env.insert(key.into(), value.into());
        self
    }

    pub(crate) fn result(mut self, name: &str, path: &str) -> Case {
        self.task.result_paths.push(ResultPath { name: name.into(), path: path.into() });
        self
    }

    pub(crate) fn publisher(mut self, name: &str) -> Case {
        self.task.publisher = SpecConfig::new(name);
        self
    }

    pub(crate) fn timeout(mut self, seconds: i64) -> Case {
        self.task.timeouts.execution_timeout = seconds;
        self
    }

    pub(crate) fn memory(mut self, bytes: u64) -> Case {
        self.memory = bytes;
        self
    }

    pub(crate) fn execution(self) -> Execution {
        let job = Job {
            id: bacalhau_model::ids::new_job_id(),
            r#type: self.job_type.into(),
            count: 1,
            tasks: vec![self.task],
            ..Job::default()
        };
        let resources = Resources { memory: self.memory, ..Resources::default() };
        Execution {
            id: bacalhau_model::ids::new_execution_id(),
            job_id: job.id.clone(),
            job: Some(Arc::new(job)),
            allocated_resources: AllocatedResources { tasks: [("main".to_owned(), resources)].into() },
            ..Execution::default()
        }
    }
}

pub(crate) fn inline(content: &[u8], target: &str) -> InputSource {
    inline_as("application/octet-stream", content, target)
}

pub(crate) fn inline_as(mime: &str, content: &[u8], target: &str) -> InputSource {
    let data = base64::engine::general_purpose::STANDARD.encode(content);
    let source = SpecConfig::new("inline").with("URL", format!("data:{mime};base64,{data}"));
    InputSource { source, target: target.into(), ..InputSource::default() }
}

pub(crate) fn inline_wat(wat: &str, target: &str) -> InputSource {
    inline(&wat::parse_str(wat).unwrap(), target)
}

pub(crate) fn local(path: &Path, target: &str, read_write: bool) -> InputSource {
    let source = SpecConfig::new("local")
        .with("SourcePath", path.to_string_lossy().into_owned())
        .with("ReadWrite", read_write);
    InputSource { source, target: target.into(), ..InputSource::default() }
}

/// A tar.gz of these files.
pub(crate) fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// WASI imports, one page of memory, and helpers:
/// `$print(fd, address, length)`, `$open(dirfd, path, length, oflags, rights) -> fd` and `$check(errno)`, which exits
/// with 100 + errno when it is not 0.
pub(crate) const PRELUDE: &str = r#"
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $exit (i32.add (i32.const 100) (local.get $errno))))))
  (func $print (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (call $check (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $open (param $dir i32) (param $path i32) (param $length i32) (param $flags i32) (param $rights i64) (result i32)
    (call $check (call $path_open (local.get $dir) (i32.const 1) (local.get $path) (local.get $length)
      (local.get $flags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 12)))
    (i32.load (i32.const 12)))
  (func $cat (param $dir i32) (param $path i32) (param $length i32)
    (local $fd i32)
    (local.set $fd (call $open (local.get $dir) (local.get $path) (local.get $length) (i32.const 0) (i64.const 2)))
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.const 4096))
    (call $check (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $print (i32.const 1) (i32.const 4096) (i32.load (i32.const 8))))
"#;

/// A module with the prelude.
pub(crate) fn program(body: &str) -> String {
    format!("(module {PRELUDE} {body})")
}

/// Prints a text to standard output and returns.
pub(crate) fn hello(text: &str) -> String {
    program(&format!(
        r#"(data (i32.const 64) "{text}")
        (func (export "_start") (call $print (i32.const 1) (i32.const 64) (i32.const {})))"#,
        text.len()
    ))
}

/// Never returns and never calls the host.
pub(crate) const SPIN: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop $again (br $again))))"#;

/// Prints "z", then sleeps for an hour.
pub(crate) const SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "z")
  (func (export "_start")
    (i32.store (i32.const 600) (i32.const 512)) (i32.store (i32.const 604) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 600) (i32.const 1) (i32.const 608)))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))))"#;
