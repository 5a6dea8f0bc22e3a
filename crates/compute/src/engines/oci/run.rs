//! One container from its start to its end.
//!
//! The runtime stays as the parent of the container: it hands on the exit code. The node's pipes are the container's
//! standard output and error. Whatever happens, nothing of it is left: what cannot be awaited any more is done by a
//! thread. A runtime that is still at work ends before its container is removed: it could make one after that.

use super::prepare::Prepared;
use super::remains::{delete, delete_now};
use super::runtime::{Runtime, last_words};
use super::{Shared, error};
use crate::engines::{EngineError, EngineRequest};
use crate::logs::LogWriter;
use crate::logs::frame::LogStream;
use bacalhau_model::Error;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longest time from the runtime's start to the container's.
const START_TIME: Duration = Duration::from_secs(60);

/// How often the runtime is looked after until the container runs: it writes a file then, some ten milliseconds after
/// its own start.
const LOOK: Duration = Duration::from_millis(3);

/// Longest time for the last output of a container that has ended. Everything in it is dead; only a process of the
/// host could still hold the pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Bytes of output that are handed on at once.
const CHUNK: usize = 32 << 10;

/// Exit code of a program that was killed (`128 + SIGKILL`).
const KILLED: i64 = 137;

/// Runs what is prepared.
pub(super) async fn run(
    shared: &Arc<Shared>,
    runtime: Runtime,
    request: &EngineRequest,
    prepared: Prepared,
) -> Result<i64, EngineError> {
    let not_started = |what: String| EngineError::not_started(error(what).retryable());
    if request.cancel.is_cancelled() {
        prepared.discard().await;
        return Err(EngineError::Cancelled);
    }
    if let Err(e) = shared.guard.watch(&runtime, shared) {
        prepared.discard().await;
        return Err(not_started(format!("cannot start the guard of containers: {e}")));
    }
    let mut container = Container {
        id: request.execution.id.clone(),
        shared: Arc::clone(shared),
        runtime,
        prepared: Some(prepared),
        process: None,
        init: None,
    };
    let mut child = container.spawn().map_err(|e| not_started(format!("cannot start the runtime: {e}")))?;
    let outputs = [
        child.stdout.take().map(|pipe| tokio::spawn(copy(pipe, request.log.clone(), LogStream::Stdout))),
        child.stderr.take().map(|pipe| tokio::spawn(copy(pipe, request.log.clone(), LogStream::Stderr))),
    ];
    let ended = container.follow(&mut child, request).await;
    // Also of one that was stopped: its last words matter most.
    drain(outputs).await;
    let killed_for_memory = container.killed_for_memory().await;
    let words = container.last_words();
    container.remove(&mut child).await;
    match ended {
        Ended::Stopped(reason) => Err(reason),
        Ended::Gave(Outcome { started: false, .. }) => Err(EngineError::not_started(cannot_start(words))),
        Ended::Gave(Outcome { status, .. }) => {
            let code = exit_code(status);
            if code != 0 && killed_for_memory {
                return Err(out_of_memory(code, request.resources.memory));
            }
            Ok(code)
        }
    }
}

/// How a container was left.
enum Ended {
    /// By itself.
    Gave(Outcome),
    /// It was stopped.
    Stopped(EngineError),
}

struct Outcome {
    started: bool,
    status: ExitStatus,
}

/// A container and what has to go with it.
struct Container {
    id: String,
    shared: Arc<Shared>,
    runtime: Runtime,
    prepared: Option<Prepared>,
    /// The runtime.
    process: Option<OwnedFd>,
    /// Its first process. A signal can never reach another one that got the same number.
    init: Option<OwnedFd>,
}

impl Container {
    fn spawn(&mut self) -> std::io::Result<Child> {
        let layout = self.prepared.as_ref().map(|prepared| &prepared.layout);
        let layout = layout.ok_or_else(|| std::io::Error::other("it is gone"))?;
        let mut command = Command::new(&self.runtime.program);
        command.arg("--root").arg(&self.shared.state);
        command.arg("--log").arg(layout.runtime_log()).args(["--log-format", "json"]);
        command.args(["run", "--bundle"]).arg(&layout.folder).arg("--pid-file").arg(layout.pid_file());
        if self.runtime.keeps {
            command.arg("--keep");
        }
        command.arg(&self.id).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a terminal sends to the node's group is not for containers; the node stops them itself.
        command.process_group(0);
        let mut child = command.spawn()?;
        match open_process(child.id()) {
            Ok(process) => self.process = Some(process),
            Err(e) => {
                let _ = child.start_kill();
                return Err(e);
            }
        }
        Ok(child)
    }

    /// Waits for its end and stops it when it is time to.
    async fn follow(&mut self, child: &mut Child, request: &EngineRequest) -> Ended {
        // Not broken off by a cancellation: the program may run already, and shall get its time to end.
        let started = tokio::time::timeout(START_TIME, self.wait_for_start(child)).await;
        match started {
            Err(_) => {
                let error = error("the runtime does not start the container").retryable();
                return Ended::Stopped(EngineError::not_started(error));
            }
            Ok(Err(error)) => return Ended::Stopped(EngineError::not_started(error)),
            Ok(Ok(Some(status))) if self.has_started() => {
                // Over before anybody looked.
                request.progress.started();
                return Ended::Gave(Outcome { started: true, status });
            }
            Ok(Ok(Some(status))) => return Ended::Gave(Outcome { started: false, status }),
            Ok(Ok(None)) => request.progress.started(),
        }
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            biased;
            status = child.wait() => return self.ended(status),
            () = request.cancel.cancelled() => EngineError::Cancelled,
            () = timeout => EngineError::TimedOut,
        };
        self.stop(child).await;
        Ended::Stopped(reason)
    }

    fn ended(&self, status: std::io::Result<ExitStatus>) -> Ended {
        match status {
            Ok(status) => Ended::Gave(Outcome { started: true, status }),
            Err(e) => Ended::Stopped(EngineError::not_started(error(format!("the runtime is lost: {e}")))),
        }
    }

    /// `Some` when it has ended already.
    async fn wait_for_start(&mut self, child: &mut Child) -> Result<Option<ExitStatus>, Error> {
        loop {
            if self.has_started() {
                self.init = self.open_init();
                return Ok(None);
            }
            tokio::select! {
                biased;
                status = child.wait() => {
                    return status.map(Some).map_err(|e| error(format!("the runtime is lost: {e}")));
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn pid_file(&self) -> Option<PathBuf> {
        self.prepared.as_ref().map(|prepared| prepared.layout.pid_file())
    }

    fn has_started(&self) -> bool {
        self.pid_file().is_some_and(|path| path.exists())
    }

    /// `None` when it has ended meanwhile.
    fn open_init(&self) -> Option<OwnedFd> {
        let text = std::fs::read_to_string(self.pid_file()?).ok()?;
        pidfd_open(Pid::from_raw(text.trim().parse().ok()?)?, PidfdFlags::empty()).ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(init) = &self.init {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(init, signal);
        }
    }

    /// Asks it to end, and ends it after the grace period. With the first process all others end.
    async fn stop(&self, child: &mut Child) {
        self.signal(Signal::TERM);
        let grace = self.shared.config.grace;
        if tokio::time::timeout(grace, child.wait()).await.is_err() {
            self.signal(Signal::KILL);
        }
    }

    async fn killed_for_memory(&self) -> bool {
        let Some(prepared) = &self.prepared else { return false };
        let (hierarchies, cgroup) = (self.shared.hierarchies.clone(), format!("{}/c", prepared.cgroup));
        let count = tokio::task::spawn_blocking(move || hierarchies.killed_for_memory(&cgroup)).await;
        count.is_ok_and(|count| count > 0)
    }

    fn last_words(&self) -> Option<String> {
        last_words(&self.prepared.as_ref()?.layout.runtime_log())
    }

    /// Removes everything and waits for that.
    async fn remove(mut self, child: &mut Child) {
        self.signal(Signal::KILL);
        // Of a container that ran and ended only files are left, and they need no runtime to be removed.
        let quick = self.has_started() && tokio::time::timeout(LAST_OUTPUT, child.wait()).await.is_ok();
        let state = self.shared.state.join(&self.id);
        let Some(prepared) = self.prepared.take() else { return };
        if !quick {
            let _ = child.kill().await;
            delete(&self.runtime, &self.shared.state, &self.id).await;
        }
        let (hierarchies, cgroup) = (self.shared.hierarchies.clone(), prepared.cgroup.clone());
        let Prepared { layout, network, mounted, image, work, .. } = prepared;
        let files = tokio::task::spawn_blocking(move || {
            let cgroups = hierarchies.remove(&cgroup);
            drop(mounted);
            drop(image);
            // The rest of the folder goes with the execution's.
            let _ = std::fs::remove_dir_all(layout.upper());
            drop(work);
            cgroups
        });
        let (removed, ()) = tokio::join!(files, network.close());
        let left = match removed {
            Ok(Ok(())) => remove_state(&state),
            Ok(Err(e)) => Err(e),
            Err(e) => Err(std::io::Error::other(e)),
        };
        if let Err(error) = left {
            tracing::warn!(container = %self.id, %error, "cannot remove a container; its runtime is asked to");
            delete(&self.runtime, &self.shared.state, &self.id).await;
        }
    }
}

fn remove_state(state: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(state) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Drop for Container {
    /// Given up half-way: a thread does what [`Container::remove`] would have done.
    fn drop(&mut self) {
        let Some(prepared) = self.prepared.take() else { return };
        self.signal(Signal::KILL);
        let (shared, runtime, id) = (Arc::clone(&self.shared), self.runtime.clone(), self.id.clone());
        let process = self.process.take();
        let removing = std::thread::Builder::new().name("container".to_owned()).spawn(move || {
            if let Some(Err(error)) = process.map(end_process) {
                tracing::warn!(container = %id, %error, "cannot end the runtime of a container");
            }
            delete_now(&runtime, &shared.state, &id);
            if let Err(error) = shared.hierarchies.remove(&prepared.cgroup) {
                tracing::warn!(container = %id, %error, "cannot remove a cgroup");
            }
            drop(prepared);
        });
        if let Err(error) = removing {
            tracing::warn!(container = %self.id, %error, "cannot remove a container; the next start does");
        }
    }
}

fn open_process(id: Option<u32>) -> std::io::Result<OwnedFd> {
    let id = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let id = id.ok_or_else(|| std::io::Error::other("it has no process id"))?;
    Ok(pidfd_open(id, PidfdFlags::empty())?)
}

/// Ends a process and waits until it has. Blocks. Its parent still learns its status.
fn end_process(process: OwnedFd) -> std::io::Result<()> {
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(e) => return Err(e.into()),
    }
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Moves output into the log, off the runtime's threads: the log is a file.
async fn copy(mut pipe: impl AsyncRead + Unpin, log: LogWriter, stream: LogStream) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let log = log.clone();
        let written = tokio::task::spawn_blocking(move || {
            log.write(stream, buffer.get(..length).unwrap_or_default());
            buffer
        });
        match written.await {
            Ok(back) => buffer = back,
            Err(_) => return,
        }
    }
}

async fn drain(outputs: [Option<JoinHandle<()>>; 2]) {
    let deadline = Instant::now() + LAST_OUTPUT;
    for mut output in outputs.into_iter().flatten() {
        if tokio::time::timeout_at(deadline, &mut output).await.is_err() {
            output.abort();
        }
    }
}

fn exit_code(status: ExitStatus) -> i64 {
    let by_signal = || status.signal().map(|signal| signal.saturating_add(128));
    i64::from(status.code().or_else(by_signal).unwrap_or(-1))
}

fn cannot_start(words: Option<String>) -> Error {
    let words = words.unwrap_or_else(|| "the runtime does not say why".to_owned());
    // "runc run failed: unable to start container process: " says nothing more.
    let reason = words.rsplit_once("container process: ").map_or(words.as_str(), |(_, reason)| reason);
    error(format!("failed to start container: {reason}"))
        .hint("Check Entrypoint, Parameters and WorkingDirectory, and that the program is in the image")
}

fn out_of_memory(code: i64, limit: u64) -> EngineError {
    let error = error(format!("memory limit exceeded: the container may use {limit} bytes"))
        .hint("Ask for more memory in the task's Resources, or have the program use less")
        .fails_execution();
    EngineError::Failed { exit_code: Some(if code < 0 { KILLED } else { code }), error }
}
