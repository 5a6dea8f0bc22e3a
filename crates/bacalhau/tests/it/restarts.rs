//! The compute node dies by `kill -9` with an execution in each of its states, starts again, and goes on as the table in
//! docs/executions.md says. Nothing of it is left behind.

use crate::cluster::{Cluster, NOTHING, Process, UP_FOREVER, eventually, wat_job};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One node, whose work is not given up while it starts again.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new("", &["Orchestrator.NodeManager.ReconnectGrace=60s"]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster
}

fn submit(cluster: &Cluster, name: &str, job: &str) {
    let file = cluster.file(&format!("{name}.yaml"), job);
    cluster.ok(&["job", "run", &file, "--wait=false"]);
}

fn executions(cluster: &Cluster, job: &str) -> Vec<Value> {
    cluster.json(&["job", "executions", job]).as_array().cloned().unwrap_or_default()
}

/// The only execution of the job is in the state (by its number on the wire).
fn is_in_state(cluster: &Cluster, job: &str, state: u64) {
    eventually(&format!("{job} is in state {state}"), || {
        let all = executions(cluster, job);
        (all.len() == 1 && all[0]["ComputeState"]["StateType"] == state).then_some(())
    });
}

fn restart(cluster: &mut Cluster) {
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
}

fn history(cluster: &Cluster, job: &str) -> String {
    cluster.ok(&["job", "history", job])
}

/// No folder of an execution is left on the node. Logs are files.
fn is_clean(node: &Process) {
    let folder = node.dir.join("compute/executions");
    eventually("no folder is left behind", || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        (entries.filter(|entry| entry.path().is_dir()).count() == 0).then_some(())
    });
}

/// An HTTP server that answers no request until it is told to, then serves `body`.
struct SlowServer {
    url: String,
    open: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl SlowServer {
    /// `head_too`: questions for the size are not answered either.
    fn start(head_too: bool, body: &'static str) -> SlowServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let (open, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let server = SlowServer { url, open: Arc::clone(&open), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (open, asked) = (Arc::clone(&open), Arc::clone(&asked));
                std::thread::spawn(move || serve(stream, head_too, body, &open, &asked));
            }
        });
        server
    }

    fn wait_asked(&self) {
        eventually("the server is asked", || self.asked.swap(false, Ordering::SeqCst).then_some(()));
    }
}

fn serve(mut stream: TcpStream, head_too: bool, body: &str, open: &AtomicBool, asked: &AtomicBool) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let is_head = request.starts_with(b"HEAD");
    if !is_head || head_too {
        asked.store(true, Ordering::SeqCst);
        while !open.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    if !is_head {
        let _ = stream.write_all(body.as_bytes());
    }
}

/// A job with an input from there.
fn with_input(job: &str, url: &str) -> String {
    let input = format!(
        "    InputSources:\n      - Target: /data\n        Source:\n          Type: urlDownload\n          Params:\n            URL: {url}\n"
    );
    job.replacen("    InputSources:\n", &input, 1)
}

#[test]
fn killed_while_it_looks_at_a_question() {
    let mut cluster = cluster();
    let server = SlowServer::start(true, "data");
    submit(&cluster, "job", &with_input(&wat_job("job", NOTHING, ""), &server.url));
    server.wait_asked();
    is_in_state(&cluster, "job", 1);
    restart(&mut cluster);
    // It asks again by itself.
    server.wait_asked();
    server.open.store(true, Ordering::SeqCst);
    assert_eq!(cluster.wait_final("job"), "Completed");
    assert_eq!(executions(&cluster, "job").len(), 1);
    is_clean(&cluster.nodes[0]);
}

#[test]
fn killed_with_a_bid_that_is_not_answered() {
    let mut cluster = cluster();
    let server = SlowServer::start(true, "data");
    submit(&cluster, "job", &with_input(&wat_job("job", NOTHING, ""), &server.url));
    server.wait_asked();
    // The bid is made while nobody is there to hear it, and outlives the node.
    cluster.orchestrator.kill();
    server.open.store(true, Ordering::SeqCst);
    eventually("the bid is stored", || bid_is_stored(&cluster.nodes[0].dir).then_some(()));
    restart(&mut cluster);
    cluster.orchestrator.start();
    cluster.wait_alive();
    assert_eq!(cluster.wait_final("job"), "Completed");
    assert_eq!(executions(&cluster, "job").len(), 1);
}

/// The node's database has a bid in it that was made. Files of the database are looked at as they are.
fn bid_is_stored(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir.join("compute")).into_iter().flatten().flatten();
    let files =
        files.filter(|file| file.path().is_file()).map(|file| std::fs::read(file.path()).unwrap_or_default());
    // `AskForBidAccepted` is 3.
    let needle = br#""ComputeState":{"StateType":3"#;
    files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn killed_while_a_service_runs() {
    let mut cluster = cluster();
    submit(&cluster, "service", &wat_job("service", UP_FOREVER, "").replace("Type: batch", "Type: service"));
    is_in_state(&cluster, "service", 6);
    let began = executions(&cluster, "service")[0]["StartTime"].as_i64().unwrap();
    assert!(began > 0);
    // While the node is away its logs cannot be read.
    let printed = |cluster: &Cluster| {
        let output = cluster.cli(&["job", "logs", "service"]);
        String::from_utf8_lossy(&output.stdout).matches("up").count()
    };
    eventually("it printed", || (printed(&cluster) == 1).then_some(()));
    restart(&mut cluster);
    eventually("it runs again", || (printed(&cluster) == 2).then_some(()));
    let again = executions(&cluster, "service");
    assert_eq!((again.len(), again[0]["ComputeState"]["StateType"].as_u64()), (1, Some(6)), "{again:?}");
    cluster.ok(&["job", "stop", "service"]);
    is_clean(&cluster.nodes[0]);
}

#[test]
fn killed_while_another_waits_for_capacity() {
    let mut cluster = cluster();
    // The first takes all there is.
    let all = |name: &str, module: &str| wat_job(name, module, "").replace("CPU: 100m", "CPU: \"3\"");
    submit(&cluster, "first", &all("first", UP_FOREVER));
    is_in_state(&cluster, "first", 6);
    submit(&cluster, "queued", &all("queued", NOTHING));
    is_in_state(&cluster, "queued", 5);
    assert_eq!(executions(&cluster, "queued")[0].get("StartTime"), None);
    restart(&mut cluster);
    assert_eq!(cluster.wait_final("queued"), "Completed");
    assert_eq!(executions(&cluster, "queued").len(), 1);
    cluster.ok(&["job", "stop", "first"]);
    is_clean(&cluster.nodes[0]);
}

#[test]
fn killed_while_a_batch_job_runs() {
    let mut cluster = cluster();
    submit(&cluster, "job", &wat_job("job", UP_FOREVER, ""));
    is_in_state(&cluster, "job", 6);
    let history_now = history(&cluster, "job");
    assert!(history_now.contains("Task started"), "{history_now}");
    restart(&mut cluster);
    let failed = eventually("it failed and is tried again", || {
        let all = executions(&cluster, "job");
        let is_live = |e: &Value| e["ComputeState"]["StateType"] == 6;
        (all.len() == 2 && all.iter().any(is_live)).then(|| all.into_iter().find(|e| !is_live(e)).unwrap())
    });
    assert_eq!(failed["ComputeState"]["StateType"], 10);
    assert!(history(&cluster, "job").contains("Failing due to node restart"));
    cluster.ok(&["job", "stop", "job"]);
    is_clean(&cluster.nodes[0]);
}

#[test]
fn killed_while_it_downloads() {
    let mut cluster = cluster();
    let server = SlowServer::start(false, "data");
    submit(&cluster, "job", &with_input(&wat_job("job", NOTHING, ""), &server.url));
    server.wait_asked();
    eventually("the history says so", || history(&cluster, "job").contains("Downloading").then_some(()));
    is_in_state(&cluster, "job", 5);
    restart(&mut cluster);
    server.open.store(true, Ordering::SeqCst);
    assert_eq!(cluster.wait_final("job"), "Completed");
    assert_eq!(executions(&cluster, "job").len(), 2, "its task might have been started");
    is_clean(&cluster.nodes[0]);
}

#[test]
fn stopped_while_it_downloads_and_while_it_looks_at_a_question() {
    let cluster = cluster();
    for head_too in [true, false] {
        let server = SlowServer::start(head_too, "data");
        let name = format!("job-{head_too}");
        submit(&cluster, &name, &with_input(&wat_job(&name, NOTHING, ""), &server.url));
        server.wait_asked();
        cluster.ok(&["job", "stop", &name]);
        is_clean(&cluster.nodes[0]);
        eventually("the node is idle", || {
            let nodes = cluster.json(&["node", "list"]);
            let info = nodes.as_array()?.iter().find(|n| n["Info"]["NodeType"] == "Compute")?.clone();
            let info = &info["Info"]["ComputeNodeInfo"];
            (info["AvailableCapacity"] == info["MaxCapacity"]).then_some(())
        });
    }
    // And others are not held up meanwhile.
    let server = SlowServer::start(true, "data");
    submit(&cluster, "slow", &with_input(&wat_job("slow", NOTHING, ""), &server.url));
    server.wait_asked();
    submit(&cluster, "quick", &wat_job("quick", NOTHING, ""));
    assert_eq!(cluster.wait_final("quick"), "Completed");
    is_in_state(&cluster, "slow", 1);
    cluster.ok(&["job", "stop", "slow"]);
}

#[test]
fn killed_with_an_end_that_was_not_reported() {
    let mut cluster = cluster();
    let server = SlowServer::start(false, "data");
    submit(&cluster, "job", &with_input(&wat_job("job", NOTHING, ""), &server.url));
    server.wait_asked();
    cluster.orchestrator.kill();
    server.open.store(true, Ordering::SeqCst);
    is_clean(&cluster.nodes[0]);
    // The folder goes before the end is stored; so the end is waited for in the database.
    eventually("the end is stored", || {
        let files = std::fs::read_dir(cluster.nodes[0].dir.join("compute")).unwrap().flatten();
        let needle = br#""Completed successfully""#;
        let mut contents =
            files.filter(|f| f.path().is_file()).map(|f| std::fs::read(f.path()).unwrap_or_default());
        contents.any(|bytes| bytes.windows(needle.len()).any(|window| window == needle)).then_some(())
    });
    restart(&mut cluster);
    cluster.orchestrator.start();
    cluster.wait_alive();
    assert_eq!(cluster.wait_final("job"), "Completed");
    assert_eq!(executions(&cluster, "job").len(), 1);
}

/// Prints `done` and ends.
const DONE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\05\00\00\00done\0a")
    (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// A job whose publishing hangs: where its archive is to be written there is a pipe that nobody reads.
fn hangs_while_publishing(cluster: &Cluster) {
    let server = SlowServer::start(false, "data");
    let job = wat_job("job", DONE, "    Publisher:\n      Type: local\n");
    submit(cluster, "job", &with_input(&job, &server.url));
    server.wait_asked();
    let id = executions(cluster, "job")[0]["ID"].as_str().unwrap().to_owned();
    let folder = cluster.nodes[0].dir.join("compute/results/local-publisher");
    std::fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join(format!("{id}.tar.gz.part"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    server.open.store(true, Ordering::SeqCst);
    is_in_state(cluster, "job", 7);
    assert!(history(cluster, "job").contains("Publishing results"));
}

#[test]
fn killed_while_it_publishes() {
    let mut cluster = cluster();
    hangs_while_publishing(&cluster);
    restart(&mut cluster);
    assert_eq!(cluster.wait_final("job"), "Completed");
    let all = executions(&cluster, "job");
    assert_eq!(all.len(), 1, "the work was done once: {all:?}");
    assert_eq!(all[0]["RunOutput"]["Stdout"], "done\n");
    let target = cluster.root.path().join("got");
    std::fs::create_dir(&target).unwrap();
    cluster.ok(&["job", "get", "job", "--output-dir", target.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(target.join("stdout")).unwrap(), "done\n");
    is_clean(&cluster.nodes[0]);
}

#[test]
fn stopped_while_it_publishes_and_asked_to_end_while_it_does() {
    let mut cluster = cluster();
    hangs_while_publishing(&cluster);
    // A node that is asked to end leaves what is complete to its next life.
    // The pipe's thread cannot be interrupted, so it may need the patience of a stop.
    cluster.nodes[0].terminate();
    cluster.nodes[0].start();
    assert_eq!(cluster.wait_final("job"), "Completed");
    is_clean(&cluster.nodes[0]);
    cluster.ok(&[
        "job",
        "run",
        &cluster.file("again.yaml", &wat_job("again", UP_FOREVER, "")),
        "--wait=false",
    ]);
    is_in_state(&cluster, "again", 6);
    cluster.ok(&["job", "stop", "again"]);
    is_clean(&cluster.nodes[0]);
}
