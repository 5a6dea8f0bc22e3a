//! The smallest possible container through the executor against `docker run` of the same image, in turns.
//!
//! `bench_docker [rounds] [network: None|Host|Bridge] [image] [command...]`. Needs a Docker daemon (DOCKER_HOST) with the image,
//! and Docker's command line. Prints medians.

#![allow(clippy::print_stdout)] // its output is the point of it

use bacalhau_compute::engines::docker::DockerConfig;
use bacalhau_compute::executor::{Executor, ExecutorConfig, Phase, RunContext};
use bacalhau_model::{
    AllocatedResources, Execution, Job, NetworkConfig, NetworkType, Resources, SpecConfig, Task, ids,
};
use std::error::Error;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let network = arguments.next().map_or(Ok(NetworkType::None), |text| NetworkType::parse(&text))?;
    let image = arguments.next().unwrap_or_else(|| "busybox".to_owned());
    let rest: Vec<String> = arguments.collect();
    let command = if rest.is_empty() { vec!["true".to_owned()] } else { rest };
    let folder = tempfile::tempdir()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut config = ExecutorConfig::new(folder.path());
        config.local_publisher.port = 0;
        config.docker = DockerConfig::from_env();
        let executor = Executor::open(config).await.map_err(|e| e.message)?;
        let (mut ours, mut started, mut bare, mut kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let (total, until_started) = run(&executor, network, &image, &command).await?;
            let removed = docker_run(network, &image, &command, true).await?;
            let left = docker_run(network, &image, &command, false).await?;
            // The first round warms up.
            if round > 0 {
                ours.push(total);
                started.push(until_started);
                bare.push(removed);
                kept.push(left);
            }
        }
        println!("{rounds} rounds, network {network}, image {image} {command:?}; medians (least):");
        for (what, times) in [
            ("executor", &mut ours),
            ("executor, until the container runs", &mut started),
            ("docker run --rm", &mut bare),
            ("docker run, not removed", &mut kept),
        ] {
            times.sort();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            println!("{what:36} {median:>9.1?} ({:.1?})", times.first().copied().unwrap_or_default());
        }
        Ok(())
    })
}

async fn run(
    executor: &Executor,
    network: NetworkType,
    image: &str,
    command: &[String],
) -> Result<(Duration, Duration), String> {
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("docker").with("Image", image).with("Parameters", command.to_vec()),
        network: Some(NetworkConfig { r#type: network, ..NetworkConfig::default() }),
        ..Task::default()
    };
    let job = Job { r#type: "batch".into(), tasks: vec![task], ..Job::default() };
    let resources = Resources { cpu: 0.5, memory: 512 << 20, ..Resources::default() };
    let execution = Execution {
        id: ids::new_execution_id(),
        job: Some(Arc::new(job)),
        allocated_resources: AllocatedResources { tasks: [("main".to_owned(), resources)].into() },
        ..Execution::default()
    };
    let begun = Instant::now();
    let running = Arc::new(Mutex::new(Duration::ZERO));
    let seen = Arc::clone(&running);
    let phase = move |phase| {
        if phase == Phase::Running
            && let Ok(mut at) = seen.lock()
        {
            *at = begun.elapsed();
        }
    };
    let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(phase) };
    executor.run(Arc::new(execution), context).await.map_err(|failure| failure.to_string())?;
    let total = begun.elapsed();
    let until_started = running.lock().map(|at| *at).unwrap_or_default();
    Ok((total, until_started))
}

/// The same limits, by the command line.
async fn docker_run(
    network: NetworkType,
    image: &str,
    command: &[String],
    remove: bool,
) -> Result<Duration, Box<dyn Error>> {
    let network = network.as_str().to_lowercase();
    let name = format!("bench-{}", ids::new_execution_id());
    let begun = Instant::now();
    let mut docker = tokio::process::Command::new("docker");
    docker.args(["run", "--network", &network, "--cpus", "0.5", "--memory", "512m", "--name", &name]);
    if remove {
        docker.arg("--rm");
    }
    let status = docker.arg(image).args(command).stdout(Stdio::null()).status().await?;
    let took = begun.elapsed();
    if !status.success() {
        return Err(format!("docker run: {status}").into());
    }
    if !remove {
        let mut docker = tokio::process::Command::new("docker");
        docker.args(["rm", "-f", &name]).stdout(Stdio::null()).status().await?;
    }
    Ok(took)
}
