//! Signals: those that arrive, and `--signal`, which sends one to another server.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{self, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Shut down; with the name for the log.
    Stop(&'static str),
    Reload,
    /// Open the log file again.
    Reopen,
    LameDuck,
}

/// Signals of this process, once they are watched.
pub(crate) struct Signals {
    watched: Vec<(unix::Signal, Signal)>,
}

impl Signals {
    /// Must be called inside of a runtime.
    pub(crate) fn new() -> io::Result<Signals> {
        let meanings = [
            (SignalKind::interrupt(), Signal::Stop("interrupt")),
            (SignalKind::terminate(), Signal::Stop("terminated")),
            (SignalKind::hangup(), Signal::Reload),
            (SignalKind::user_defined1(), Signal::Reopen),
            (SignalKind::user_defined2(), Signal::LameDuck),
        ];
        let watch = |(kind, meaning)| signal(kind).map(|stream| (stream, meaning));
        Ok(Signals { watched: meanings.into_iter().map(watch).collect::<io::Result<_>>()? })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (stream, meaning) in &mut self.watched {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*meaning);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Sends what `--signal` says: `ORDER=PID`, where PID is a number or a file with one.
pub(crate) fn send(order: &str) -> Result<(), String> {
    let (name, target) = order.split_once('=').unwrap_or((order, ""));
    let signal = match name {
        "stop" => rustix::process::Signal::KILL,
        "quit" => rustix::process::Signal::INT,
        "term" => rustix::process::Signal::TERM,
        "reopen" => rustix::process::Signal::USR1,
        "reload" => rustix::process::Signal::HUP,
        "ldm" => rustix::process::Signal::USR2,
        _ => {
            return Err(format!(
                "unknown signal {name:?}; there are stop, quit, term, reopen, reload and ldm"
            ));
        }
    };
    if target.is_empty() {
        return Err(format!("--signal {name} needs a process: --signal {name}=PID, or a file with the id"));
    }
    let pid = match target.parse() {
        Ok(pid) => Some(pid),
        Err(_) => std::fs::read_to_string(target).ok().and_then(|text| text.trim().parse().ok()),
    };
    // Zero and numbers below it are groups of processes.
    let pid = pid
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| format!("invalid pid: {target:?} is neither a process id nor a file with one"))?;
    kill_process(pid, signal).map_err(|error| format!("signal {name:?} {}: {error}", pid.as_raw_nonzero()))
}
