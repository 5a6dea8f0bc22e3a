//! What the executor gives an engine and what it takes back, with an engine that a test writes.

use super::*;
use crate::core::Start;
use crate::engines::{Engine, EngineError, EngineRequest};
use bacalhau_model::{Gpu, Job, NetworkConfig, NetworkType, PortMapping, Resources, ResultPath};
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an engine was to adopt, and the ports it got.
type Seen = (bool, Vec<crate::engines::Port>);

type Body = dyn Fn(EngineRequest) -> BoxFuture<'static, Result<i64, EngineError>> + Send + Sync;

/// Runs what a test wrote.
struct Script {
    body: Box<Body>,
    outlives: bool,
}

impl Engine for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn validate(&self, _task: &Task) -> Result<(), Error> {
        Ok(())
    }

    fn outlives_the_node(&self) -> bool {
        self.outlives
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        (self.body)(request)
    }
}

struct Node {
    dir: tempfile::TempDir,
    executor: Executor,
}

async fn node_in(
    dir: tempfile::TempDir,
    change: impl FnOnce(&mut ExecutorConfig),
    outlives: bool,
    body: impl Fn(EngineRequest) -> BoxFuture<'static, Result<i64, EngineError>> + Send + Sync + 'static,
) -> Node {
    let mut config = ExecutorConfig::new(dir.path().join("compute"));
    let first = 10_000 + u16::try_from(std::process::id() % 9_000).unwrap() * 2;
    config.port_range = first..=first + 20;
    change(&mut config);
    let engines = Engines::new(vec![Arc::new(Script { body: Box::new(body), outlives })], &[]);
    let allowed = EnvAllowList::default();
    let executor =
        Executor::with_engines(config, engines, vec![Arc::new(Inline)], vec![Arc::new(Noop)], allowed).await;
    Node { dir, executor }
}

async fn node(
    change: impl FnOnce(&mut ExecutorConfig),
    body: impl Fn(EngineRequest) -> BoxFuture<'static, Result<i64, EngineError>> + Send + Sync + 'static,
) -> Node {
    node_in(tempfile::tempdir().unwrap(), change, false, body).await
}

fn execution(id: &str, change: impl FnOnce(&mut Task)) -> Execution {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("script"), ..Task::default() };
    change(&mut task);
    let job = Job { id: "j".into(), r#type: "batch".into(), count: 1, tasks: vec![task], ..Job::default() };
    Execution { id: id.into(), job_id: "j".into(), job: Some(Arc::new(job)), ..Execution::default() }
}

fn port(name: &str, fixed: i64, target: i64) -> PortMapping {
    PortMapping { name: name.into(), r#static: fixed, target, ..PortMapping::default() }
}

fn bridge(ports: Vec<PortMapping>) -> Option<NetworkConfig> {
    Some(NetworkConfig { r#type: NetworkType::Bridge, ports, ..NetworkConfig::default() })
}

async fn run(node: &Node, execution: Execution) -> Result<Finished, Failure> {
    let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
    let run = node.executor.run(Arc::new(execution), context);
    tokio::time::timeout(Duration::from_secs(60), run).await.expect("it takes too long")
}

fn folders(node: &Node) -> Vec<String> {
    let entries =
        std::fs::read_dir(node.dir.path().join("compute/executions")).into_iter().flatten().flatten();
    entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn an_engine_learns_ports_network_and_gpus() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let node = node(
        |_| {},
        move |request| {
            told.lock().unwrap().push(request);
            Box::pin(async { Ok(0) })
        },
    )
    .await;
    let mut execution =
        execution("e-1", |task| task.network = bridge(vec![port("http", 0, 80), port("x", 0, 0)]));
    let gpu = Gpu { index: 3, vendor: "NVIDIA".into(), ..Gpu::default() };
    let resources = Resources { cpu: 1.0, gpu: 1, gpus: vec![gpu.clone()], ..Resources::default() };
    execution.allocated_resources.tasks.insert("main".into(), resources);
    run(&node, execution).await.unwrap();
    let request = seen.lock().unwrap().pop().unwrap();
    assert_eq!(request.resources.gpus, [gpu]);
    let [http, other] = request.ports.as_slice() else { panic!("{:?}", request.ports) };
    assert_eq!((http.name.as_str(), http.target, other.target), ("http", 80, other.host));
    assert!((10_000..30_000).contains(&http.host) && http.host != other.host);
    let variable = |name: &str| request.env.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(variable("BACALHAU_HOST_PORT_http"), http.host.to_string());
    assert_eq!(variable("BACALHAU_PORT_http"), "80");
    assert_eq!(variable("BACALHAU_PORT_x"), other.host.to_string());
    assert_eq!(request.network.r#type, NetworkType::Bridge);
    drop(request);
    assert!(folders(&node).is_empty());
}

#[tokio::test]
async fn without_networked_jobs_the_default_is_none() {
    for (reject, expected) in [(true, NetworkType::None), (false, NetworkType::Default)] {
        let node = node(
            |config| config.reject_networked = reject,
            move |request| {
                assert_eq!(request.network.r#type, expected);
                Box::pin(async { Ok(0) })
            },
        )
        .await;
        run(&node, execution("e-1", |_| {})).await.unwrap();
    }
}

#[tokio::test]
async fn ports_come_back_however_it_ends() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let node = node(
        |config| config.port_range = *config.port_range.start()..=*config.port_range.start(),
        move |request| {
            let fails = failing.load(Ordering::Relaxed);
            Box::pin(async move {
                // A port that another program of the machine took meanwhile would be an error before this.
                assert_eq!(request.ports.len(), 1);
                if fails { Err(EngineError::not_started(Error::plain("boom"))) } else { Ok(0) }
            })
        },
    )
    .await;
    let wanted = || execution("e-1", |task| task.network = bridge(vec![port("a", 0, 80)]));
    for fail in [false, true, false] {
        fails.store(fail, Ordering::Relaxed);
        assert_eq!(run(&node, wanted()).await.is_err(), fail);
    }
    // An environment that cannot be had is no reason to keep a port.
    let wrong = execution("e-2", |task| {
        task.network = bridge(vec![port("a", 0, 80)]);
        task.env.insert("A\0".into(), "x".into());
    });
    assert!(run(&node, wrong).await.is_err());
    assert!(run(&node, wanted()).await.is_ok());
    let two = execution("e-3", |task| task.network = bridge(vec![port("a", 0, 80), port("b", 0, 81)]));
    let failure = run(&node, two).await.unwrap_err();
    assert!(failure.error.message.starts_with("no free port for \"b\""), "{failure}");
    assert!(failure.error.hint.contains("PortRangeStart"), "{}", failure.error.hint);
}

#[tokio::test]
async fn an_adopted_execution_has_the_ports_it_had() {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let script = |seen: &Arc<Mutex<Vec<_>>>| {
        let told = Arc::clone(seen);
        move |request: EngineRequest| -> BoxFuture<'static, Result<i64, EngineError>> {
            told.lock().unwrap().push((request.adopt, request.ports.clone()));
            Box::pin(async move {
                if !request.adopt {
                    request.progress.started();
                    std::future::pending::<()>().await;
                }
                Ok(0)
            })
        }
    };
    let first = node_in(tempfile::tempdir().unwrap(), |_| {}, true, script(&seen)).await;
    let execution = Arc::new(execution("e-1", |task| task.network = bridge(vec![port("a", 0, 80)])));
    let (started, leave) = (CancellationToken::new(), CancellationToken::new());
    let phase = Arc::new({
        let started = started.clone();
        move |phase| {
            if phase == Phase::Running {
                started.cancel();
            }
        }
    });
    let context = RunContext { cancel: CancellationToken::new(), phase };
    let resume = Resume { start: Start::Afresh, leave: leave.clone() };
    let running = tokio::spawn({
        let (executor, execution) = (first.executor.clone(), Arc::clone(&execution));
        async move { executor.run_from(execution, context, resume).await }
    });
    started.cancelled().await;
    leave.cancel();
    assert!(matches!(running.await.unwrap(), Ending::Left));
    let had = seen.lock().unwrap().pop().unwrap().1;

    let next = node_in(first.dir, |_| {}, true, script(&seen)).await;
    next.executor.clean_up(&BTreeSet::from(["e-1".to_owned()])).await;
    // Nobody else gets the port before it is adopted.
    let held = next.executor.inner.adopted_ports.lock().unwrap().len();
    assert_eq!(held, 1);
    let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
    let resume = Resume { start: Start::Adopt, leave: CancellationToken::new() };
    let ending = next.executor.run_from(execution, context, resume).await;
    assert!(matches!(ending, Ending::Finished(_)), "{ending:?}");
    assert_eq!(seen.lock().unwrap().pop(), Some((true, had)));
    let executions = next.dir.path().join("compute/executions/e-1");
    assert!(!executions.exists());
}

fn writes(
    bytes: usize,
    then_waits: bool,
) -> impl Fn(EngineRequest) -> BoxFuture<'static, Result<i64, EngineError>> {
    move |request| {
        Box::pin(async move {
            request.progress.started();
            std::fs::write(request.results[0].host_path.join("big"), vec![1; bytes]).unwrap();
            request.log.write(crate::logs::frame::LogStream::Stdout, b"writing");
            if then_waits {
                request.cancel.cancelled().await;
                return Err(EngineError::Cancelled);
            }
            Ok(0)
        })
    }
}

fn with_results(disk: &str) -> Execution {
    execution("e-1", |task| {
        task.resources.disk = disk.into();
        task.result_paths = vec![ResultPath { name: "out".into(), path: "/out".into() }];
    })
}

#[tokio::test]
async fn an_execution_that_writes_too_much_is_ended() {
    let node = node(|_| {}, writes(3 << 20, true)).await;
    let failure = run(&node, with_results("1MB")).await.unwrap_err();
    assert!(
        failure.error.message.starts_with("disk limit exceeded: the execution has written at least 3.1 MB"),
        "{failure}"
    );
    assert!(failure.error.message.ends_with("and may write 1.0 MB (1000000 bytes)"), "{failure}");
    assert!(!failure.is_cancelled());
    assert_eq!(failure.run_output.unwrap().stdout, "writing");
    assert!(folders(&node).is_empty());
}

#[tokio::test]
async fn results_are_measured_before_they_are_published() {
    let node = node(|config| config.disk_limit = Some(1_000_000), writes(2 << 20, false)).await;
    let failure = run(&node, with_results("")).await.unwrap_err();
    assert!(failure.error.message.starts_with("disk limit exceeded"), "{failure}");
    assert!(
        run(&node, with_results("5MB")).await.is_ok(),
        "what the job asks for comes before the node's limit"
    );
    assert!(folders(&node).is_empty());
}

/// A file system of its own, taken away at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, said aloud, where this user may not mount.
    fn of(kib: u32) -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().unwrap());
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(disk.0.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        eprintln!("SKIPPED: a file system cannot be mounted here, so what a full disk does is not tested");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let Some(disk) = Disk::of(512) else { return };
    let fills = |request: EngineRequest| -> BoxFuture<'static, Result<i64, EngineError>> {
        Box::pin(async move {
            let path = request.results[0].host_path.join("big");
            if request.execution.id == "e-full" {
                use std::io::Write;
                let mut file = std::fs::File::create(path).unwrap();
                while file.write_all(&[1; 4096]).is_ok() {}
                // Single bytes until nothing fits, so that no room is left for what the node adds.
                while file.write_all(&[1]).is_ok() {}
            } else {
                std::fs::write(path, "small").unwrap();
            }
            Ok(0)
        })
    };
    let mut config = ExecutorConfig::new(disk.0.path().join("compute"));
    config.local_publisher.port = 0;
    let local = LocalPublisher::start(&config.local_publisher, config.published_folder()).await.unwrap();
    let engines = Engines::new(vec![Arc::new(Script { body: Box::new(fills), outlives: false })], &[]);
    let executor =
        Executor::with_engines(config, engines, Vec::new(), vec![Arc::new(local)], EnvAllowList::default())
            .await;
    let wanted = |id: &str| {
        let execution = execution(id, |task| {
            task.publisher = SpecConfig::new("local");
            task.result_paths = vec![ResultPath { name: "out".into(), path: "/out".into() }];
        });
        let context = RunContext { cancel: CancellationToken::new(), phase: Arc::new(|_| {}) };
        executor.run(Arc::new(execution), context)
    };
    let failure = wanted("e-full").await.unwrap_err();
    assert!(failure.error.message.contains("No space left on device"), "{failure}");
    assert!(failure.error.hint.contains("free space"), "{}", failure.error.hint);
    assert!(failure.error.retryable);
    let left = |folder: &str| {
        let entries =
            std::fs::read_dir(disk.0.path().join("compute").join(folder)).into_iter().flatten().flatten();
        entries.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".log")).count()
    };
    assert_eq!((left("executions"), left("results/local-publisher")), (0, 0));
    wanted("e-small").await.unwrap();
    assert_eq!((left("executions"), left("results/local-publisher")), (0, 1));
}
