//! A node that dies and comes back: what it goes on with, and what it removes.

use super::daemon::{Daemon, shared};
use super::{logs, request, sh, streams};
use crate::support::{Case, in_time};
use bacalhau_compute::engines::docker::{DockerConfig, DockerEngine};
use bacalhau_compute::engines::{Engine, EngineError, EngineRequest, Progress, Step};
use bacalhau_compute::sources::{Mount, MountData};
use bacalhau_model::{Execution, NetworkConfig, NetworkType};
use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A node's life that ends without any of its last words, like a process that is killed.
struct Doomed {
    runtime: tokio::runtime::Runtime,
}

impl Doomed {
    /// Runs an execution, and waits until its container was started.
    async fn start(daemon: &Daemon, node_id: &str, execution: &Arc<Execution>, folder: &Path) -> Doomed {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let engine = engine(daemon, node_id);
        let (tell, mut told) = tokio::sync::mpsc::channel(10);
        let (execution, folder) = (Arc::clone(execution), PathBuf::from(folder));
        runtime.spawn(async move {
            let progress = Progress::new(move |step| {
                if step == Step::Started {
                    tell.try_send(()).unwrap();
                }
            });
            let request = EngineRequest { progress, ..request(&execution, &folder, &logs(&folder)) };
            engine.run(request).await
        });
        in_time(told.recv()).await.expect("it starts");
        Doomed { runtime }
    }

    fn die(self) {
        self.runtime.shutdown_background();
    }
}

fn engine(daemon: &Daemon, node_id: &str) -> DockerEngine {
    DockerEngine::new(DockerConfig { host: daemon.host.clone(), ..DockerConfig::default() }, node_id)
}

fn adopting(execution: &Arc<Execution>, folder: &Path) -> EngineRequest {
    EngineRequest { adopt: true, ..request(execution, folder, &logs(folder)) }
}

fn long(case: Case) -> Arc<Execution> {
    Arc::new(Case { job_type: "service", ..case }.execution())
}

/// Waits until this much is in the log on disk.
async fn logged(folder: &Path, execution: &Execution, lines: usize) {
    let enough = async {
        while streams(&logs(folder), &execution.id).await.0.lines().count() < lines {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(enough).await;
}

/// Docker does not answer a question about the end of a container until it has ended, however long that is; the header of
/// the answer it sends at once. Otherwise each wait would end with the limit of a request.
#[tokio::test]
async fn waiting_has_no_time_limit() {
    let Some(daemon) = shared().await else { return };
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh("echo begun; sleep 3")));
    let node_id = format!("n-wait-{}", execution.id);
    let engine = engine(&daemon, &node_id);
    let waiting = async {
        logged(dir.path(), &execution, 1).await;
        let name = daemon.leftovers(&node_id).await.pop().unwrap();
        let impatient = daemon.docker.clone().with_timeout(Duration::from_secs(1));
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut waiting = Box::pin(impatient.wait_container(name.trim_start_matches('/'), Some(options)));
        waiting.next().await.unwrap().unwrap().status_code
    };
    let request = request(&execution, dir.path(), &logs(dir.path()));
    let (code, ended) = in_time(async { tokio::join!(waiting, engine.run(request)) }).await;
    assert_eq!((code, ended.unwrap()), (0, 0));
}

/// Waits until the container of the node's one execution has ended by itself.
async fn ended(daemon: &Daemon, node_id: &str) {
    let name = daemon.leftovers(node_id).await.pop().unwrap();
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    let mut waiting = Box::pin(daemon.docker.wait_container(name.trim_start_matches('/'), Some(options)));
    let _ = in_time(waiting.next()).await;
}

const COUNT: &str =
    "for i in $(seq 1 150); do echo out $i; echo err $i >&2; sleep 0.02; done; printf end; exit 4";

fn counted(word: &str) -> String {
    (1..=150).map(|n| format!("{word} {n}\n")).collect()
}

#[tokio::test]
async fn dropping_a_run_leaves_its_container_to_the_next_life() {
    let Some(daemon) = shared().await else { return };
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh("echo begun; sleep 600")));
    let node_id = format!("n-drop-{}", execution.id);
    let leaving = engine(&daemon, &node_id);
    let request = request(&execution, dir.path(), &logs(dir.path()));
    let mut running = leaving.run(request);
    tokio::select! {
        ended = &mut running => panic!("it ended: {ended:?}"),
        () = logged(dir.path(), &execution, 1) => {}
    }
    drop(running);
    let engine = engine(&daemon, &node_id);
    let again = adopting(&execution, dir.path());
    let cancel = again.cancel.clone();
    let adopted = in_time(async { tokio::join!(engine.run(again), async { cancel.cancel() }) }).await.0;
    assert!(matches!(adopted, Err(EngineError::Cancelled)), "{adopted:?}");
    assert_eq!(streams(&logs(dir.path()), &execution.id).await.0, "begun\n");
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_adopted_and_each_line_logged_once() {
    let Some(daemon) = shared().await else { return };
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh(COUNT)));
    let node_id = format!("n-adopt-{}", execution.id);
    let doomed = Doomed::start(&daemon, &node_id, &execution, dir.path()).await;
    logged(dir.path(), &execution, 5).await;
    doomed.die();

    let engine = engine(&daemon, &node_id);
    in_time(engine.clean_up(&BTreeSet::from([execution.id.clone()]))).await;
    assert_eq!(daemon.leftovers(&node_id).await.len(), 1);
    let exit_code = in_time(engine.run(adopting(&execution, dir.path()))).await.unwrap();
    assert_eq!(exit_code, 4);
    let (stdout, stderr) = streams(&logs(dir.path()), &execution.id).await;
    assert_eq!(stdout.trim_end(), counted("out") + "end");
    assert_eq!(stderr, counted("err"));
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ended_while_the_node_was_away_tells_its_end() {
    let Some(daemon) = shared().await else { return };
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh(COUNT)));
    let node_id = format!("n-ended-{}", execution.id);
    let doomed = Doomed::start(&daemon, &node_id, &execution, dir.path()).await;
    logged(dir.path(), &execution, 1).await;
    doomed.die();
    ended(&daemon, &node_id).await;

    let engine = engine(&daemon, &node_id);
    let request =
        EngineRequest { timeout: Some(Duration::from_secs(3600)), ..adopting(&execution, dir.path()) };
    assert_eq!(in_time(engine.run(request)).await.unwrap(), 4);
    let (stdout, stderr) = streams(&logs(dir.path()), &execution.id).await;
    assert_eq!(stdout.trim_end(), counted("out") + "end");
    assert_eq!(stderr, counted("err"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_more_output_than_docker_keeps_the_newest_arrives_once() {
    let Some(daemon) = shared().await else { return };
    let script = "seq 1 10; echo begun; while [ ! -e /in/go ]; do sleep 0.05; done; seq 11 100000; echo done";
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh(script)));
    let node_id = format!("n-much-{}", execution.id);
    let config =
        DockerConfig { host: daemon.host.clone(), daemon_log_bytes: 64 << 10, ..DockerConfig::default() };
    let input = tempfile::tempdir().unwrap();
    let mount =
        Mount { data: MountData::Folder(input.path().to_path_buf()), target: "/in".into(), read_only: true };
    let first = EngineRequest { mounts: vec![mount], ..request(&execution, dir.path(), &logs(dir.path())) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let doomed = DockerEngine::new(config.clone(), &node_id);
    runtime.spawn(async move { doomed.run(first).await });
    logged(dir.path(), &execution, 11).await;
    runtime.shutdown_background();
    // Later than what the two clocks may differ by, or the node takes new lines for known ones.
    tokio::time::sleep(Duration::from_secs(3)).await;
    std::fs::write(input.path().join("go"), "").unwrap();
    ended(&daemon, &node_id).await;
    let engine = DockerEngine::new(config, &node_id);
    assert_eq!(in_time(engine.run(adopting(&execution, dir.path()))).await.unwrap(), 0);
    let (stdout, _) = streams(&logs(dir.path()), &execution.id).await;
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..11].join(" "), "1 2 3 4 5 6 7 8 9 10 begun");
    assert_eq!(lines.last(), Some(&"done"));
    // The first line that Docker still has may be a part of one.
    let numbers: Vec<u32> = lines[12..lines.len() - 1].iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "lines are missing or come twice");
    assert_eq!(numbers.last(), Some(&100_000));
    assert!(numbers.len() < 90_000 && numbers.len() > 1000, "{}", numbers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_container_has_what_is_left_of_its_time() {
    let Some(daemon) = shared().await else { return };
    let (dir, execution) = (tempfile::tempdir().unwrap(), long(sh("echo begun; sleep 600")));
    let node_id = format!("n-limit-{}", execution.id);
    let doomed = Doomed::start(&daemon, &node_id, &execution, dir.path()).await;
    logged(dir.path(), &execution, 1).await;
    doomed.die();
    let request =
        EngineRequest { timeout: Some(Duration::from_millis(1)), ..adopting(&execution, dir.path()) };
    let ended = in_time(engine(&daemon, &node_id).run(request)).await;
    assert!(matches!(ended, Err(EngineError::TimedOut)), "{ended:?}");
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_adopts_is_removed_and_cannot_be_adopted_any_more() {
    let Some(daemon) = shared().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut case = sh("sleep 600");
    case.task.network = Some(NetworkConfig {
        r#type: NetworkType::Http,
        domains: vec!["a.example".into()],
        ports: Vec::new(),
    });
    let execution = long(case);
    let node_id = format!("n-left-{}", execution.id);
    let doomed = Doomed::start(&daemon, &node_id, &execution, dir.path()).await;
    doomed.die();
    assert_eq!(daemon.leftovers(&node_id).await.len(), 2);
    // Another node's clean-up leaves them alone.
    in_time(engine(&daemon, "n-another").clean_up(&BTreeSet::new())).await;
    assert_eq!(daemon.leftovers(&node_id).await.len(), 2);
    let engine = engine(&daemon, &node_id);
    in_time(engine.clean_up(&BTreeSet::new())).await;
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
    let ended = in_time(engine.run(adopting(&execution, dir.path()))).await;
    assert!(matches!(ended, Err(EngineError::Gone)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_container_finds_its_proxy_where_it_was() {
    let Some(daemon) = shared().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "go on" }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    // Asks until it is answered "go on" after it has heard that the node died.
    let script =
        format!("echo begun; while [ ! -e /in/died ]; do sleep 0.05; done; wget -q -O - http://{address}/");
    let mut case = sh(&script);
    case.task.network = Some(NetworkConfig {
        r#type: NetworkType::Http,
        domains: vec!["127.0.0.1".into()],
        ports: Vec::new(),
    });
    let execution = long(case);
    let node_id = format!("n-proxy-{}", execution.id);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let shared_folder = tempfile::tempdir().unwrap();
    let data = MountData::Folder(shared_folder.path().to_path_buf());
    let mount = Mount { data, target: "/in".into(), read_only: true };
    let first = EngineRequest { mounts: vec![mount], ..request(&execution, dir.path(), &logs(dir.path())) };
    let doomed_engine = engine(&daemon, &node_id);
    runtime.spawn(async move { doomed_engine.run(first).await });
    logged(dir.path(), &execution, 1).await;
    runtime.shutdown_background();
    let engine = engine(&daemon, &node_id);
    in_time(engine.clean_up(&BTreeSet::from([execution.id.clone()]))).await;
    let again = EngineRequest {
        progress: Progress::new({
            let died = shared_folder.path().join("died");
            move |_| std::fs::write(&died, "").unwrap()
        }),
        ..adopting(&execution, dir.path())
    };
    assert_eq!(in_time(engine.run(again)).await.unwrap(), 0);
    assert_eq!(streams(&logs(dir.path()), &execution.id).await.0.trim_end(), "begun\ngo on");
    assert_eq!(daemon.leftovers(&node_id).await, Vec::<String>::new());
}
