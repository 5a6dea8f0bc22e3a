//! The servers under test, each a process of its own with default settings on a loopback port.

use super::Outcome;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server program.
pub struct Program {
    pub name: &'static str,
    path: PathBuf,
}

impl Program {
    pub fn own() -> Program {
        Program { name: "this server", path: PathBuf::from(env!("CARGO_BIN_EXE_nats-server")) }
    }

    /// The Go server, if there is one. Nothing named `nats-server` that Cargo built counts.
    pub fn original() -> Option<Program> {
        let named = std::env::var_os("NATS_SERVER_BIN").map(PathBuf::from);
        let on_path = || {
            let folders = std::env::var_os("PATH")?;
            let own = Path::new(env!("CARGO_BIN_EXE_nats-server")).parent();
            std::env::split_paths(&folders)
                .filter(|folder| Some(folder.as_path()) != own)
                .map(|folder| folder.join("nats-server"))
                .find(|path| path.is_file())
        };
        named.or_else(on_path).map(|path| Program { name: "Go nats-server", path })
    }
}

/// A running server; ends with this value.
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    pub fn start(program: &Program) -> Outcome<Process> {
        Process::start_with(program, &[])
    }

    /// With further flags.
    pub fn start_with(program: &Program, flags: &[&str]) -> Outcome<Process> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(&program.path)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.path.display()))?;
        let process = Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        let started = Instant::now();
        while TcpStream::connect(process.address).is_err() {
            if started.elapsed() > PATIENCE {
                return Err(
                    format!("{} does not listen on {}", program.path.display(), process.address).into()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Memory in RAM, MiB, from `/proc`.
    pub fn resident_mib(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS in /proc")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("VmRSS without a value")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then its figures were an error already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
