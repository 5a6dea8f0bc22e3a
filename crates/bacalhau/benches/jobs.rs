//! Times the whole system with the release binary: one machine, both roles, the smallest WebAssembly program.
//!
//! `cargo bench --package bacalhau --bench jobs` prints durable submit latency, submit-to-completed latency one job
//! at a time, completed jobs per second with 16 clients, resident memory and disk per finished job.
//! `-- --jobs 10000 --clients 16 --seq 200` changes the load. Clients wait for a job by polling its history.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `(module (memory (export "memory") 1) (func (export "_start")))`, base64.
const MODULE: &str = "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs=";

struct Options {
    seq: usize,
    jobs: usize,
    clients: usize,
}

fn main() {
    let options = options();
    rustls::crypto::ring::default_provider().install_default().expect("crypto provider");
    let dir = std::env::temp_dir().join(format!("bacalhau-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("data folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let server = start(&dir).await;
        measure(&options, &server.url, server.child.id(), &dir).await;
    });
    std::fs::remove_dir_all(&dir).expect("clean up");
}

fn options() -> Options {
    let mut options = Options { seq: 200, jobs: 10_000, clients: 16 };
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        let number = pair[1].parse();
        match (pair[0].as_str(), number) {
            ("--seq", Ok(n)) => options.seq = n,
            ("--jobs", Ok(n)) => options.jobs = n,
            ("--clients", Ok(n)) => options.clients = n,
            _ => {}
        }
    }
    options
}

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `bacalhau serve --orchestrator --compute` and waits until a node can take work.
async fn start(dir: &Path) -> Server {
    let (api, nats) = (free_port(), free_port());
    let child = Command::new(env!("CARGO_BIN_EXE_bacalhau"))
        .args(["serve", "--orchestrator", "--compute", "--data-dir"])
        .arg(dir)
        .args(["-c", "API.Host=127.0.0.1", "-c", &format!("API.Port={api}")])
        .args(["-c", "Orchestrator.Host=127.0.0.1", "-c", &format!("Orchestrator.Port={nats}")])
        .args(["-c", "Publishers.Types.Local.Port=0", "-c", "Logging.Level=warn"])
        .env_remove("BACALHAU_DIR")
        .stderr(Stdio::inherit())
        .spawn()
        .expect("start bacalhau");
    let server = Server { child, url: format!("http://127.0.0.1:{api}/api/v1/orchestrator") };
    let client = reqwest::Client::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(response) = client.get(format!("{}/nodes", server.url)).send().await {
            let body: Value = response.json().await.unwrap_or_default();
            let nodes = body["Nodes"].as_array().cloned().unwrap_or_default();
            if nodes.iter().any(|n| n["Info"]["NodeType"] == "Compute" && n["Connection"] == "CONNECTED") {
                return server;
            }
        }
        assert!(Instant::now() < deadline, "no compute node joined within 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("address").port()
}

fn job(name: &str) -> Value {
    json!({"Job": {"Name": name, "Namespace": "default", "Type": "batch", "Count": 1, "Tasks": [{
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/m.wasm", "Entrypoint": "_start"}},
        "InputSources": [{
            "Source": {"Type": "inline", "Params": {"URL": format!("data:application/octet-stream;base64,{MODULE}")}},
            "Target": "/m.wasm"
        }],
        "Resources": {"CPU": "10m", "Memory": "16Mb"},
        "Timeouts": {"QueueTimeout": 600}
    }]}})
}

#[derive(Clone)]
struct Api {
    client: reqwest::Client,
    url: Arc<str>,
}

impl Api {
    async fn submit(&self, name: &str) -> String {
        let response =
            self.client.put(format!("{}/jobs", self.url)).json(&job(name)).send().await.expect("submit");
        let body: Value = response.json().await.expect("answer");
        body["JobID"].as_str().unwrap_or_else(|| panic!("refused: {body}")).to_owned()
    }

    async fn wait(&self, id: &str, pause: Duration) {
        loop {
            let response = self.client.get(format!("{}/jobs/{id}", self.url)).send().await.expect("get");
            let body: Value = response.json().await.expect("answer");
            match body["Job"]["State"]["StateType"].as_str() {
                Some("Completed") => return,
                Some("Failed" | "Stopped") => panic!("job {id}: {}", body["Job"]["State"]),
                _ => tokio::time::sleep(pause).await,
            }
        }
    }
}

async fn measure(options: &Options, url: &str, pid: u32, dir: &Path) {
    let api = Api { client: reqwest::Client::new(), url: url.into() };
    let idle = resident_kib(pid);
    let (mut submit, mut complete) = (Vec::new(), Vec::new());
    for n in 0..options.seq {
        let started = Instant::now();
        let id = api.submit(&format!("one-{n}")).await;
        submit.push(started.elapsed());
        api.wait(&id, Duration::from_micros(500)).await;
        complete.push(started.elapsed());
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..options.clients {
        let (api, next, jobs) = (api.clone(), Arc::clone(&next), options.jobs);
        clients.spawn(async move {
            let mut ids = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < jobs {
                ids.push(api.submit(&format!("many-{}-{}", started.elapsed().as_nanos(), ids.len())).await);
            }
            ids
        });
    }
    let ids: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    let submitted = started.elapsed();
    for id in &ids {
        api.wait(id, Duration::from_millis(5)).await;
    }
    let completed = started.elapsed();
    let finished = options.jobs + options.seq;
    println!(
        "submit, durable, one at a time    p50 {:>8} p99 {:>8}",
        at(&mut submit, 0.50),
        at(&mut submit, 0.99)
    );
    println!(
        "submit to completed, one by one   p50 {:>8} p99 {:>8}",
        at(&mut complete, 0.50),
        at(&mut complete, 0.99)
    );
    println!(
        "submissions, {} clients           {:>8.0} per second",
        options.clients,
        rate(options.jobs, submitted)
    );
    println!(
        "completed jobs, {} clients        {:>8.0} per second",
        options.clients,
        rate(options.jobs, completed)
    );
    println!("resident, idle                    {:>8.1} MB", idle as f64 / 1e3);
    println!("resident, after {finished} jobs       {:>8.1} MB", resident_kib(pid) as f64 / 1e3);
    println!("disk per finished job             {:>8.2} KB", disk_bytes(dir) as f64 / finished as f64 / 1e3);
}

fn at(times: &mut [Duration], share: f64) -> String {
    times.sort();
    let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(index).map_or_else(String::new, |t| format!("{:.2} ms", t.as_secs_f64() * 1e3))
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Blocks in use below a folder, so that many small files count as what they cost.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => meta.blocks() * 512 + disk_bytes(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
