//! Executions per second of the smallest possible job through the executor, and the memory of the process.
//!
//! `bench_wasm [executions] [at-once]`. Prints one line per measurement.

#![allow(clippy::print_stdout)] // its output is the point of it

use bacalhau_compute::executor::{Executor, ExecutorConfig, RunContext};
use bacalhau_model::{Execution, InputSource, Job, SpecConfig, Task, ids};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// `(module (memory (export "memory") 1) (func (export "_start")))`
const MODULE: &str = "data:application/octet-stream;base64,AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs=";

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
        let start = Instant::now();
        run(&executor).await?;
        println!("first execution (engine, compilation): {:?}", start.elapsed());
        report("after the first execution");

        let start = Instant::now();
        for _ in 0..1000 {
            run(&executor).await?;
        }
        println!("one after another: {:?} each", start.elapsed() / 1000);

        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..count {
            if running.len() >= at_once {
                running.join_next().await.transpose()?.transpose()?;
            }
            let executor = executor.clone();
            running.spawn(async move { run(&executor).await });
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

async fn run(executor: &Executor) -> Result<(), String> {
    let source = SpecConfig::new("inline").with("URL", MODULE);
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
