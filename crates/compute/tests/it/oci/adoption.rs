//! Containers outlive the node: its next life goes on with them.

use super::networks::{get, has, heard, http, request, web_server};
use super::{next_life, node, nothing_left, settings, site, supervisors};
use crate::support::{Case, Node, PATIENCE, in_time};
use bacalhau_compute::engines::oci::{OciConfig, OciEngine};
use bacalhau_compute::engines::{Engine, EngineError, EngineRequest, Port, Progress, Step};
use bacalhau_compute::logs::{LogLimits, LogStore, LogStream, ReadOptions};
use bacalhau_compute::sources::{Mount, MountData};
use bacalhau_model::{AllocatedResources, Execution, Resources};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A node's life that ends without any of its last words, like a process that is killed.
struct Doomed {
    runtime: tokio::runtime::Runtime,
}

impl Doomed {
    /// Has an engine of its own work on a request, and waits until the container runs, or is over.
    async fn begin(node: &Node, request: EngineRequest) -> Doomed {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A node that dies does not remove folders.
        std::mem::forget(Arc::clone(&request.work));
        let (request, mut told) = told(request);
        let engine = next_life(node);
        runtime.spawn(async move {
            let ended = engine.run(request).await;
            eprintln!("a life that was to die: {ended:?}");
        });
        // `None` when there was nothing to adopt any more.
        let _ = in_time(told.recv()).await;
        Doomed { runtime }
    }

    /// Whatever it is at goes on for a moment.
    fn die(self) {
        self.runtime.shutdown_background();
    }

    /// Nothing of it is left, as when its process is gone.
    async fn dead(self) {
        let runtime = self.runtime;
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
    }
}

/// A request of a life of its own: with its own view of the log.
fn of_a_life(node: &Node, execution: &Arc<Execution>, adopt: bool) -> EngineRequest {
    let logs = logs(node);
    EngineRequest {
        log: logs.open(&execution.id).unwrap(),
        resources: execution.allocated_resources.total(),
        adopt,
        ..request(node, execution, Vec::new()).0
    }
}

fn logs(node: &Node) -> LogStore {
    LogStore::new(folder(node), LogLimits { execution: 1 << 30, together: 1 << 30, keep_free: 0 })
}

fn folder(node: &Node) -> PathBuf {
    node.dir.path().join("compute/executions")
}

fn service(case: Case) -> Arc<Execution> {
    Arc::new(Case { job_type: "service", ..case }.execution())
}

/// What is logged, by stream.
async fn streams(node: &Node, execution: &Execution) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let Some(mut reader) = logs(node).read(&execution.id, ReadOptions::default()).unwrap() else {
        return Default::default();
    };
    while let Some(chunk) = reader.next().await.unwrap() {
        if chunk.stream == LogStream::Stdout { &mut out } else { &mut err }.extend_from_slice(&chunk.bytes);
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Waits until so many lines are in the log on disk.
async fn logged(node: &Node, execution: &Execution, lines: usize) {
    in_time(async {
        while streams(node, execution).await.0.lines().count() < lines {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Waits until all supervisors have seen the end of what they look after.
async fn ended(node: &Node) {
    in_time(async {
        while !supervisors(node).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn keeping(node: &Node, execution: &Execution) -> OciEngine {
    let engine = next_life(node);
    in_time(engine.clean_up(&BTreeSet::from([execution.id.clone()]))).await;
    engine
}

fn swept(node: &Node) {
    node.executor.sweep(&BTreeSet::new()).unwrap();
    nothing_left(node);
}

const COUNT: &str =
    "for i in $(seq 1 100); do echo out $i; echo err $i >&2; sleep 0.01; done; printf end; exit 4";

fn counted(word: &str) -> String {
    (1..=100).map(|n| format!("{word} {n}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_adopted_and_each_line_logged_once() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = service(site.script(COUNT));
    let doomed = Doomed::begin(&node, of_a_life(&node, &execution, false)).await;
    logged(&node, &execution, 5).await;
    doomed.dead().await;

    let engine = keeping(&node, &execution).await;
    assert!(engine.outlives_the_node() && supervisors(&node).len() == 1);
    let again = of_a_life(&node, &execution, true);
    let log = again.log.clone();
    assert_eq!(in_time(engine.run(again)).await.unwrap(), 4);
    let (stdout, stderr) = streams(&node, &execution).await;
    assert_eq!((stdout, stderr), (counted("out") + "end", counted("err")));
    // The record has its first words, which a former life logged.
    let captured = log.finish();
    assert!(captured.stdout.starts_with("out 1\nout 2\n"), "{captured:?}");
    swept(&node);
}

/// Lives that die one after another while much is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_however_often_the_node_dies() {
    let Some(site) = site() else { return };
    let node = node().await;
    let script = "for i in $(seq 0 29); do seq $((i * 10000 + 1)) $((i * 10000 + 10000)); sleep 0.05; done; seq 1 1000 >&2; echo end";
    let execution = service(site.script(script));
    let mut adopt = false;
    for pause in [0, 3, 10, 1, 30, 0, 5, 20, 100, 2, 50] {
        let doomed = Doomed::begin(&node, of_a_life(&node, &execution, adopt)).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        doomed.die();
        adopt = true;
    }
    let last = in_time(next_life(&node).run(of_a_life(&node, &execution, true))).await;
    assert!(matches!(last, Ok(0) | Err(EngineError::Gone)), "{last:?}");
    let (stdout, stderr) = streams(&node, &execution).await;
    let numbers = |to: u32| (1..=to).map(|n| format!("{n}\n")).collect::<String>();
    assert!(stdout == numbers(300_000) + "end\n", "{} bytes, {:?}", stdout.len(), first_wrong(&stdout));
    assert_eq!(stderr, numbers(1000));
    swept(&node);
}

fn first_wrong(text: &str) -> Option<(usize, String)> {
    let mut lines = text.lines().enumerate();
    lines.find(|(n, line)| **line != *(n + 1).to_string()).map(|(n, line)| (n, line.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ended_while_the_node_was_away_tells_its_end() {
    let Some(site) = site() else { return };
    let node = node().await;
    let limited = |mut execution: Execution| {
        let resources = Resources { memory: 32 << 20, ..Resources::default() };
        execution.allocated_resources = AllocatedResources { tasks: [("main".to_owned(), resources)].into() };
        Arc::new(execution)
    };
    let counting = service(site.script(COUNT));
    let hungry = limited(site.script("echo begun; sleep 0.2; exec tail /dev/zero").execution());
    for (execution, lines) in [(&counting, 1), (&hungry, 1)] {
        let doomed = Doomed::begin(&node, of_a_life(&node, execution, false)).await;
        logged(&node, execution, lines).await;
        doomed.dead().await;
    }
    ended(&node).await;
    let engine = next_life(&node);
    let keep = [&counting, &hungry].map(|execution| execution.id.clone()).into();
    in_time(engine.clean_up(&keep)).await;
    let late = EngineRequest { timeout: Some(Duration::ZERO), ..of_a_life(&node, &counting, true) };
    assert_eq!(in_time(engine.run(late)).await.unwrap(), 4);
    let (stdout, stderr) = streams(&node, &counting).await;
    assert_eq!((stdout, stderr), (counted("out") + "end", counted("err")));
    let failure = in_time(engine.run(of_a_life(&node, &hungry, true))).await.unwrap_err();
    let EngineError::Failed { exit_code: Some(137), error } = failure else { panic!("{failure:?}") };
    assert!(error.message.starts_with("memory limit exceeded"), "{}", error.message);
    swept(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_one_is_stopped_and_has_what_is_left_of_its_time() {
    let Some(site) = site() else { return };
    // The machine may be busy.
    let grace = |config: OciConfig| OciConfig { grace: PATIENCE, ..settings(config) };
    let node = Node::with(|config| config.oci = grace(config.oci.clone())).await;
    let script = "trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let execution = service(site.script(script));
    for expected in ["cancelled", "timed out"] {
        let doomed = Doomed::begin(&node, of_a_life(&node, &execution, false)).await;
        logged(&node, &execution, 1).await;
        doomed.dead().await;
        let engine = OciEngine::new(grace(OciConfig::new(&node.dir.path().join("compute")))).unwrap();
        let mut again = of_a_life(&node, &execution, true);
        match expected {
            "cancelled" => again.cancel.cancel(),
            _ => again.timeout = Some(Duration::from_millis(1)),
        }
        let ended = in_time(engine.run(again)).await;
        match expected {
            "cancelled" => assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}"),
            _ => assert!(matches!(ended, Err(EngineError::TimedOut)), "{ended:?}"),
        }
        assert!(streams(&node, &execution).await.0.ends_with("ready\nending\n"));
        swept(&node);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_adopts_is_removed_and_cannot_be_adopted_any_more() {
    let Some(site) = site() else { return };
    let (node, another) = (node().await, node().await);
    let execution = service(site.script("echo begun; sleep 3600"));
    Doomed::begin(&node, of_a_life(&node, &execution, false)).await.dead().await;
    // Another node's clean-up leaves them alone.
    in_time(next_life(&another).clean_up(&BTreeSet::new())).await;
    assert_eq!(supervisors(&node).len(), 1);
    let engine = next_life(&node);
    in_time(engine.clean_up(&BTreeSet::new())).await;
    swept(&node);
    let ended = in_time(engine.run(of_a_life(&node, &execution, true))).await;
    assert!(matches!(ended, Err(EngineError::Gone)), "{ended:?}");
    swept(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_machine_it_is_gone() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = service(site.script("echo begun; sleep 3600"));
    Doomed::begin(&node, of_a_life(&node, &execution, false)).await.dead().await;
    let record = node.dir.path().join("compute/oci/containers").join(&execution.id).join("record.json");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = std::fs::read_to_string(&record).unwrap().replace(boot.trim(), "another");
    std::fs::write(&record, text).unwrap();
    let engine = keeping(&node, &execution).await;
    let ended = in_time(engine.run(of_a_life(&node, &execution, true))).await;
    assert!(matches!(ended, Err(EngineError::Gone)), "{ended:?}");
    swept(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_lost_its_supervisor_is_ended() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = service(site.script("echo begun; sleep 3600"));
    let kill = |node: &Node| {
        let [pid] = supervisors(node)[..] else { panic!("one supervisor") };
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    // While the node is there.
    let engine = next_life(&node);
    let first = of_a_life(&node, &execution, false);
    let run = tokio::spawn(async move { engine.run(first).await });
    logged(&node, &execution, 1).await;
    kill(&node);
    let failure = in_time(run).await.unwrap().unwrap_err();
    let EngineError::Failed { exit_code: None, error } = failure else { panic!("{failure:?}") };
    assert!(error.message.contains("supervisor is gone"), "{}", error.message);
    swept(&node);
    // While it is away.
    Doomed::begin(&node, of_a_life(&node, &execution, false)).await.dead().await;
    kill(&node);
    ended(&node).await;
    let engine = keeping(&node, &execution).await;
    let ended = in_time(engine.run(of_a_life(&node, &execution, true))).await;
    assert!(matches!(ended, Err(EngineError::Gone)), "{ended:?}");
    swept(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_more_output_than_is_kept_the_newest_arrives_once() {
    let Some(site) = site() else { return };
    let node = node().await;
    let input = tempfile::tempdir().unwrap();
    // About 80 MB, which nobody reads.
    let execution = service(site.script(&then("seq 1000000 11000000; echo done")));
    let first = with_input(of_a_life(&node, &execution, false), input.path());
    let doomed = Doomed::begin(&node, first).await;
    logged(&node, &execution, 1).await;
    doomed.dead().await;
    std::fs::write(input.path().join("go"), "").unwrap();
    ended(&node).await;
    let engine = keeping(&node, &execution).await;
    assert_eq!(in_time(engine.run(of_a_life(&node, &execution, true))).await.unwrap(), 0);
    let (stdout, stderr) = streams(&node, &execution).await;
    assert!(stderr.contains("bytes of output were lost here"), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines[0], lines.last()), ("begun", Some(&"done")));
    // The first may be a part of a line.
    let numbers: Vec<u32> = lines[2..lines.len() - 1].iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "lines are missing or come twice");
    assert!(numbers[0] > 1_000_000 && numbers.len() > 5_000_000, "{} of {}", numbers[0], numbers.len());
    swept(&node);
}

/// Waits in the container until the next life of the node is there, and then does something.
fn then(script: &str) -> String {
    format!("echo begun; while [ ! -e /in/go ]; do sleep 0.05; done; {script}")
}

fn with_input(mut request: EngineRequest, folder: &std::path::Path) -> EngineRequest {
    request.mounts.push(Mount {
        data: MountData::Folder(folder.to_path_buf()),
        target: "/in".into(),
        read_only: true,
    });
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_one_finds_its_proxy_where_it_was() {
    let Some(site) = site() else { return };
    let node = node().await;
    let server = web_server("127.0.0.1").await;
    // The proxy takes the end of what it hears for the end of who asks.
    let script = then(&format!(
        "proxy=${{http_proxy#http://}}; mkfifo /p; nc ${{proxy%:*}} ${{proxy#*:}} </p >/answer & exec 3>/p; \
         printf 'GET http://{server}/ HTTP/1.0\\r\\n\\r\\n' >&3; wait $!; tail -1 /answer"
    ));
    let execution = service(http(site.script(&script), &["127.0.0.1"]));
    let input = tempfile::tempdir().unwrap();
    let doomed = Doomed::begin(&node, with_input(of_a_life(&node, &execution, false), input.path())).await;
    logged(&node, &execution, 1).await;
    doomed.dead().await;
    let engine = keeping(&node, &execution).await;
    let again = of_a_life(&node, &execution, true);
    let (adopted, mut told) = told(again);
    let run = tokio::spawn(async move { engine.run(adopted).await });
    in_time(told.recv()).await.unwrap();
    std::fs::write(input.path().join("go"), "").unwrap();
    assert_eq!(in_time(run).await.unwrap().unwrap(), 0);
    assert_eq!(streams(&node, &execution).await.0, "begun\nserved");
    swept(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_one_has_its_ports_and_its_way_out() {
    let Some(site) = site().filter(|_| has(&["ip", "iptables"])) else { return };
    let node = node().await;
    let server = web_server("0.0.0.0").await;
    let script = then(&format!(
        "host=$(grep host.docker.internal /etc/hosts | cut -f 1); {} | tail -1; echo hello | nc -l -p 80",
        get("$host", &server.port().to_string())
    ));
    let execution = service(site.script(&script).network_type("Bridge"));
    let input = tempfile::tempdir().unwrap();
    let host = crate::test_registry::free_port();
    let port = Port { name: "web".into(), host, target: 80, host_address: "127.0.0.1".into() };
    let mut first = with_input(of_a_life(&node, &execution, false), input.path());
    first.ports = vec![port.clone()];
    let doomed = Doomed::begin(&node, first).await;
    logged(&node, &execution, 1).await;
    doomed.dead().await;
    in_time(async {
        while std::net::TcpListener::bind(("127.0.0.1", host)).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let engine = keeping(&node, &execution).await;
    let again = EngineRequest { ports: vec![port], ..of_a_life(&node, &execution, true) };
    let run = tokio::spawn(async move { engine.run(again).await });
    std::fs::write(input.path().join("go"), "").unwrap();
    assert_eq!(in_time(heard(host)).await, "hello\n");
    assert_eq!(in_time(run).await.unwrap().unwrap(), 0);
    assert_eq!(streams(&node, &execution).await.0, "begun\nserved");
    let rules = std::process::Command::new("iptables-save").output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&rules).contains(&super::cgroup_prefix(&node)), "rules are left");
    swept(&node);
}

/// A request that tells when its task runs.
fn told(request: EngineRequest) -> (EngineRequest, tokio::sync::mpsc::Receiver<()>) {
    let (tell, told) = tokio::sync::mpsc::channel(10);
    let progress = Progress::new(move |step| {
        if step == Step::Started {
            tell.try_send(()).unwrap();
        }
    });
    (EngineRequest { progress, ..request }, told)
}
