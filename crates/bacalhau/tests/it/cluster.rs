//! Starts real `bacalhau` processes on loopback and talks to them the way people do.

pub use crate::test_registry::free_port;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up. Generous: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
pub const BACALHAU: &str = env!("CARGO_BIN_EXE_bacalhau");

/// Calls `check` until it gives something or patience ends.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A command with no configuration of the machine's own.
fn bacalhau(data_dir: &Path) -> Command {
    let mut command = Command::new(BACALHAU);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BACALHAU_")) {
        command.env_remove(name);
    }
    command.env("BACALHAU_DIR", data_dir).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// One serving process.
pub struct Process {
    child: Option<Child>,
    args: Vec<String>,
    /// Variables of its own.
    env: Vec<(String, String)>,
    pub dir: PathBuf,
    log: PathBuf,
}

impl Process {
    fn new(dir: PathBuf, args: Vec<String>) -> Process {
        Process::with_env(dir, args, Vec::new())
    }

    fn with_env(dir: PathBuf, args: Vec<String>, env: Vec<(String, String)>) -> Process {
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("test.log");
        let mut process = Process { child: None, args, env, dir, log };
        process.start();
        process
    }

    /// Starts it (again) with the same arguments and data.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = bacalhau(&self.dir);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg("serve").args(&self.args).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Changes an argument for the next start.
    pub fn replace_arg(&mut self, from: &str, to: &str) {
        for arg in self.args.iter_mut().filter(|arg| arg.as_str() == from) {
            *arg = to.to_owned();
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks it to end and waits until it has; gives whether it ended well.
    pub fn terminate(&mut self) -> bool {
        self.signal("TERM");
        let Some(mut child) = self.child.take() else { return true };
        eventually("the process ended", || child.try_wait().unwrap()).success()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let (signal, pid) = (format!("-{name}"), child.id().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Everything it logged so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.dir.display(), self.log());
        }
    }
}

/// An orchestrator, its compute nodes and a client.
pub struct Cluster {
    pub orchestrator: Process,
    pub nodes: Vec<Process>,
    pub api_port: u16,
    pub nats_port: u16,
    pub root: TempDir,
}

/// What every process of a test gets: nothing outside loopback, a fast heartbeat, little noise.
fn common() -> Vec<String> {
    let settings = [
        "Orchestrator.Host=127.0.0.1",
        "API.Host=127.0.0.1",
        "Publishers.Types.Local.Port=0",
        "Compute.Heartbeat.Interval=1s",
        "Compute.AllocatedCapacity.CPU=4",
        "Compute.AllocatedCapacity.Memory=1Gi",
        "UpdateConfig.Interval=0s",
        "DisableAnalytics=true",
    ];
    settings.iter().flat_map(|s| ["-c".to_owned(), (*s).to_owned()]).collect()
}

impl Cluster {
    /// An orchestrator that wants `token` (none when empty), and more settings as `Key=Value`.
    pub fn new(token: &str, settings: &[&str]) -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let (api_port, nats_port) = (free_port(), free_port());
        let mut args = vec!["--orchestrator".to_owned()];
        args.extend(common());
        let mut own = vec![format!("API.Port={api_port}"), format!("Orchestrator.Port={nats_port}")];
        if !token.is_empty() {
            own.push(format!("Orchestrator.Auth.Token={token}"));
        }
        own.extend(settings.iter().map(|s| (*s).to_owned()));
        args.extend(own.into_iter().flat_map(|s| ["-c".to_owned(), s]));
        let orchestrator = Process::new(root.path().join("orchestrator"), args);
        let cluster = Cluster { orchestrator, nodes: Vec::new(), api_port, nats_port, root };
        cluster.wait_alive();
        cluster
    }

    /// Waits until the API answers.
    pub fn wait_alive(&self) {
        eventually("the API answers", || self.cli(&["agent", "alive"]).status.success().then_some(()));
    }

    /// Adds a compute node that reaches the orchestrator at `address`, and more arguments.
    pub fn add_node(&mut self, address: &str, more: &[&str]) -> usize {
        self.add_node_with(address, free_port(), more, Vec::new())
    }

    /// The same with the port of its API, and variables of its own.
    pub fn add_node_with(
        &mut self,
        address: &str,
        api_port: u16,
        more: &[&str],
        env: Vec<(String, String)>,
    ) -> usize {
        let name = format!("node-{}", self.nodes.len());
        self.add_named_node(&name, address, api_port, more, env)
    }

    /// The same with a name of its own, where nodes of several tests share something that knows them by their names.
    pub fn add_named_node(
        &mut self,
        name: &str,
        address: &str,
        api_port: u16,
        more: &[&str],
        env: Vec<(String, String)>,
    ) -> usize {
        let mut args = vec!["--compute".to_owned(), "--name".to_owned(), name.to_owned()];
        args.extend(common());
        let own = [format!("API.Port={api_port}"), format!("Compute.Orchestrators={address}")];
        args.extend(own.into_iter().flat_map(|s| ["-c".to_owned(), s]));
        args.extend(more.iter().map(|s| (*s).to_owned()));
        self.nodes.push(Process::with_env(self.root.path().join(name), args, env));
        self.nodes.len() - 1
    }

    /// The orchestrator's NATS address.
    pub fn nats(&self) -> String {
        format!("127.0.0.1:{}", self.nats_port)
    }

    /// Runs a client command, which must end in time.
    pub fn cli(&self, args: &[&str]) -> Output {
        let mut command = bacalhau(&self.root.path().join("client"));
        // What follows `--` belongs to the job.
        let own = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        let (options, program) = args.split_at(own);
        command.args(options).args(["--api-host", "127.0.0.1", "--api-port", &self.api_port.to_string()]);
        command.args(program);
        command.current_dir(self.root.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id().to_string();
        let (ended, end) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
        end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            panic!("bacalhau {} did not end", args.join(" "));
        })
    }

    /// Starts a client command that goes on meanwhile. What it prints must fit into a pipe.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = bacalhau(&self.root.path().join("client"));
        command.args(args).args(["--api-host", "127.0.0.1", "--api-port", &self.api_port.to_string()]);
        command.current_dir(self.root.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a client command that must succeed and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(
            output.status.success(),
            "{args:?} failed\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A client command's JSON output.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut with_output = args.to_vec();
        with_output.extend(["--output", "json"]);
        serde_json::from_str(&self.ok(&with_output)).unwrap()
    }

    /// Sends a PUT to the API and gives the whole answer.
    pub fn put(&self, path: &str, body: &serde_json::Value) -> String {
        self.request("PUT", path, &body.to_string()).unwrap()
    }

    /// Sends a request without a body to the API and gives the whole answer.
    pub fn http(&self, method: &str, path: &str) -> String {
        self.request(method, path, "").unwrap()
    }

    /// Sends a request to the API and gives the whole answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        request(self.api_port, method, path, body)
    }

    /// Compute nodes that are connected now.
    pub fn connected(&self) -> usize {
        let nodes = self.json(&["node", "list"]);
        let is_up =
            |n: &&serde_json::Value| n["Info"]["NodeType"] == "Compute" && n["Connection"] == "CONNECTED";
        nodes.as_array().map_or(0, |all| all.iter().filter(is_up).count())
    }

    /// Waits until that many compute nodes are connected.
    pub fn wait_connected(&self, count: usize) {
        eventually(&format!("{count} nodes are connected"), || (self.connected() == count).then_some(()));
    }

    /// State of a job.
    pub fn state(&self, job: &str) -> String {
        let described = self.json(&["job", "describe", job]);
        described["Job"]["State"]["StateType"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a job is in a final state and gives it.
    pub fn wait_final(&self, job: &str) -> String {
        eventually(&format!("job {job} is final"), || {
            let state = self.state(job);
            ["Completed", "Failed", "Stopped"].contains(&state.as_str()).then_some(state)
        })
    }

    /// Writes a file next to the client and gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.root.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Sends a request to the API at this port and gives the whole answer.
pub fn request(api_port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", api_port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A file of the repository's examples.
pub fn example(name: &str) -> String {
    // Not what was the folder at compile time: a target folder may be shared by checkouts.
    let package = std::env::current_dir().unwrap();
    format!("{}/../../examples/{name}", package.display())
}

/// A job file around a WAT module.
pub fn wat_job(name: &str, module: &str, more: &str) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.encode(wat::parse_str(module).unwrap());
    format!(
        "Name: {name}\nType: batch\nCount: 1\nTasks:\n  - Name: main\n    Engine:\n      Type: wasm\n      Params:\n        EntryModule: /m.wasm\n        Entrypoint: _start\n    InputSources:\n      - Target: /m.wasm\n        Source:\n          Type: inline\n          Params:\n            URL: \"data:application/octet-stream;base64,{bytes}\"\n    Resources:\n      CPU: 100m\n      Memory: 16Mb\n{more}"
    )
}

/// A WAT module at `/m.wasm`, as an input in JSON.
pub fn wat_input(module: &str) -> serde_json::Value {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.encode(wat::parse_str(module).unwrap());
    let url = format!("data:application/octet-stream;base64,{bytes}");
    serde_json::json!({ "Target": "/m.wasm", "Source": { "Type": "inline", "Params": { "URL": url } } })
}

/// Does nothing and ends.
pub const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Never ends and never yields.
pub const FOREVER: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Says so, then never ends. It could open files, so its inputs are laid out for it.
pub const UP_FOREVER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\03\00\00\00up\0a")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (loop (br 0))))"#;
