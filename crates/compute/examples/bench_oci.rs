//! What it takes to start a container that does nothing: engine `oci` through the executor, the bare runtime with a
//! ready bundle, and `docker run`, one after another in turns so that all see the same machine.
//!
//! `bench_oci <image> [rounds] [runtime]`. The image must have `true` and be known to Docker, where `docker` answers
//! (`DOCKER_HOST`); without it that part is left out.

#![allow(clippy::print_stdout)] // its output is the point of it

use bacalhau_compute::engines::supervisor;
use bacalhau_compute::executor::{Executor, ExecutorConfig, RunContext};
use bacalhau_model::{Execution, Job, NetworkConfig, SpecConfig, Task, ids, network::NetworkType};
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some_and(|argument| argument == supervisor::ARGUMENT) {
        supervisor::supervise();
        return Ok(());
    }
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().ok_or("bench_oci <image> [rounds] [runtime]")?;
    let rounds: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let runtime = arguments.next().unwrap_or_else(|| "runc".to_owned());
    let folder = tempfile::tempdir()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut config = ExecutorConfig::new(folder.path().join("compute"));
        config.local_publisher.port = 0;
        config.oci.runtime =
            Some(format!("/usr/sbin/{runtime}").into()).filter(|path: &std::path::PathBuf| path.exists());
        let executor = Executor::open(config).await.map_err(|e| e.message)?;
        let first = Instant::now();
        run(&executor, &image).await?;
        println!("first execution (trial of the runtime, pull, unpacking): {:?}", first.elapsed());

        let bundle = folder.path().join("bundle");
        make_bundle(folder.path(), &bundle, &runtime)?;
        let docker = ["run", "--rm", "--network", "none", "--entrypoint", "true", &image];
        let has_docker = quiet(Command::new("docker").args(docker));
        let (mut oci, mut bare, mut with_docker) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let start = Instant::now();
            run(&executor, &image).await?;
            oci.push(start.elapsed());
            let start = Instant::now();
            let id = format!("bench-{}-{round}", std::process::id());
            if !quiet(Command::new(&runtime).args(["run", "--bundle"]).arg(&bundle).arg(id)) {
                return Err("the bare runtime fails".into());
            }
            bare.push(start.elapsed());
            if has_docker {
                let start = Instant::now();
                quiet(Command::new("docker").args(docker));
                with_docker.push(start.elapsed());
            }
        }
        report("engine oci", oci);
        report(&format!("bare {runtime}"), bare);
        report("docker run", with_docker);
        Ok(())
    })
}

async fn run(executor: &Executor, image: &str) -> Result<(), String> {
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("oci").with("Image", image).with("Entrypoint", vec!["true"]),
        network: Some(NetworkConfig { r#type: NetworkType::None, ..NetworkConfig::default() }),
        ..Task::default()
    };
    let job = Job { r#type: "batch".into(), tasks: vec![task], ..Job::default() };
    let execution =
        Execution { id: ids::new_execution_id(), job: Some(Arc::new(job)), ..Execution::default() };
    let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
    let finished = executor.run(Arc::new(execution), context).await.map_err(|failure| failure.to_string())?;
    if finished.run_output.exit_code == 0 { Ok(()) } else { Err(finished.run_output.stderr) }
}

/// A copy of the image's lowest layer with the runtime's own sample configuration.
fn make_bundle(folder: &Path, bundle: &Path, runtime: &str) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir(bundle)?;
    let layers = std::fs::read_dir(folder.join("compute/images/layers"))?.next().ok_or("no layer")??;
    if !quiet(Command::new("cp").arg("-a").arg(layers.path().join("fs")).arg(bundle.join("rootfs")))
        || !quiet(Command::new(runtime).arg("spec").current_dir(bundle))
    {
        return Err("cannot make a bundle".into());
    }
    let path = bundle.join("config.json");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(
        path,
        text.replace("\"sh\"", "\"true\"").replace("\"terminal\": true", "\"terminal\": false"),
    )?;
    Ok(())
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
    if !times.is_empty() {
        println!("{what}: p50 {:?}, p90 {:?}, least {:?} of {}", at(50), at(90), at(0), times.len());
    }
}
