//! Executions per second of the smallest possible jobs through the executor, the time of one of each kind, and the
//! memory of the process.
//!
//! `bench_wasm [executions] [at-once]`. Prints one line per measurement. Kinds take turns, so that a busy machine
//! disturbs all of them alike.

#![allow(clippy::print_stdout)] // its output is the point of it

use bacalhau_compute::executor::{Executor, ExecutorConfig, RunContext};
use bacalhau_model::{Execution, InputSource, Job, SpecConfig, Task, ids};
use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as ADAPTER,
};
use wit_component::ComponentEncoder;

/// The smallest module: one page of memory, an entrypoint that returns.
const MODULE: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Prints "hello" with WASI preview 1.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// The smallest component: the same as a command of WASI 0.2.
const COMPONENT: &str = r#"(component
  (core module $m (memory (export "memory") 1) (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))"#;

/// What compilers make of a program that could open files: its inputs are laid out. It has 64 KiB of data and prints "hello".
const USUAL: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (data (i32.const 1024) "DATA")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// Runs of each kind for its median.
const TURNS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let at_once: usize = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut config = ExecutorConfig::new(folder.path());
        config.local_publisher.port = 0;
        let executor = Executor::open(config).await.map_err(|e| e.message)?;
        report("idle, before the first execution");
        let smallest = encoded(wat::parse_str(MODULE)?);
        let start = Instant::now();
        run(&executor, &smallest).await?;
        println!("first execution (engine, compilation): {:?}", start.elapsed());
        report("after the first execution");

        let hello = wat::parse_str(HELLO)?;
        let adapted = ComponentEncoder::default().module(&hello).and_then(|e| e.adapter(NAME, ADAPTER));
        let adapted = adapted.and_then(|mut e| e.encode()).map_err(|e| e.to_string())?;
        let mut seed = 1u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("\\{:02x}", seed >> 24)
        });
        let usual = wat::parse_str(USUAL.replace("DATA", &noise.take(64 << 10).collect::<String>()))?;
        let kinds = [
            ("module", smallest.clone()),
            ("module that prints", encoded(hello)),
            ("component", encoded(wat::parse_str(COMPONENT)?)),
            ("component that prints, with adapter", encoded(adapted.clone())),
            ("the same, packed as by `wasm run`", packed(&adapted)?),
            ("module that could open files", encoded(usual.clone())),
            ("the same, packed as by `wasm run`", packed(&usual)?),
        ];
        let mut times: [Vec<Duration>; 7] = Default::default();
        for turn in 0..=TURNS {
            for ((_, module), times) in kinds.iter().zip(&mut times) {
                let start = Instant::now();
                run(&executor, module).await?;
                // The first compiles.
                if turn > 0 {
                    times.push(start.elapsed());
                }
            }
        }
        for ((name, _), times) in kinds.iter().zip(&mut times) {
            times.sort();
            let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
            println!("{name}: p50 {:?}, p95 {:?} each, one after another", at(50), at(95));
        }

        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..count {
            if running.len() >= at_once {
                running.join_next().await.transpose()?.transpose()?;
            }
            let (executor, module) = (executor.clone(), smallest.clone());
            running.spawn(async move { run(&executor, &module).await });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{count} executions, {at_once} at once: {:.0} per second",
            f64::from(u32::try_from(count)?) / seconds
        );
        report("after all of them");
        Ok(())
    })
}

/// A module as an inline input.
fn encoded(module: Vec<u8>) -> String {
    format!(
        "data:application/octet-stream;base64,{}",
        base64::engine::general_purpose::STANDARD.encode(module)
    )
}

/// The same as the only file of an archive.
fn packed(module: &[u8]) -> Result<String, Box<dyn Error>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(module.len())?);
    header.set_mode(0o644);
    archive.append_data(&mut header, "main.wasm", module)?;
    let archive = archive.into_inner()?.finish()?;
    Ok(format!("data:application/gzip;base64,{}", base64::engine::general_purpose::STANDARD.encode(archive)))
}

async fn run(executor: &Executor, module: &str) -> Result<(), String> {
    let source = SpecConfig::new("inline").with("URL", module);
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("wasm").with("EntryModule", "/m.wasm").with("Entrypoint", "_start"),
        input_sources: vec![InputSource { source, target: "/m.wasm".into(), ..InputSource::default() }],
        ..Task::default()
    };
    let job = Job { r#type: "batch".into(), tasks: vec![task], ..Job::default() };
    let execution =
        Execution { id: ids::new_execution_id(), job: Some(Arc::new(job)), ..Execution::default() };
    let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
    executor.run(Arc::new(execution), context).await.map(|_| ()).map_err(|failure| failure.to_string())
}

fn report(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: unknown");
    println!("{when}: {resident}");
}
