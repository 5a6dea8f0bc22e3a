//! Signals: those that arrive, and `--signal`, which sends one to another server.

use std::future::poll_fn;
use std::io;
use std::path::Path;
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

/// Sends what `--signal` says: `ORDER=PID`, where PID is a number or a file with one; `ORDER` alone is for the only server
/// that runs on this machine.
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
    let pid = match (target, target.parse()) {
        ("", _) => Some(the_only(&running(Path::new("/proc"), std::process::id())?)?),
        (_, Ok(pid)) => Some(pid),
        _ => std::fs::read_to_string(target).ok().and_then(|text| text.trim().parse().ok()),
    };
    // Zero and numbers below it are groups of processes.
    let pid = pid
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| format!("invalid pid: {target:?} is neither a process id nor a file with one"))?;
    kill_process(pid, signal).map_err(|error| format!("signal {name:?} {}: {error}", pid.as_raw_nonzero()))
}

/// Name of the processes of such servers.
const NAME: &str = "nats-server";

/// The servers that run on this machine, beside this process.
fn running(proc: &Path, own: u32) -> Result<Vec<i32>, String> {
    let entries = std::fs::read_dir(proc)
        .map_err(|error| format!("unable to resolve pid, try providing one: {}: {error}", proc.display()))?;
    let mut found: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| u32::try_from(*pid) != Ok(own))
        // A process may end while this looks at it.
        .filter(|pid| {
            std::fs::read_to_string(proc.join(pid.to_string()).join("comm"))
                .is_ok_and(|name| name.trim_end() == NAME)
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn the_only(pids: &[i32]) -> Result<i32, String> {
    match pids {
        [] => Err("no nats-server processes running".to_owned()),
        [pid] => Ok(*pid),
        several => {
            let lines: Vec<String> = several.iter().map(i32::to_string).collect();
            Err(format!("multiple nats-server processes running:\n{}", lines.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_server_is_found() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, name: &str| {
            std::fs::create_dir(proc.path().join(pid)).unwrap();
            std::fs::write(proc.path().join(pid).join("comm"), format!("{name}\n")).unwrap();
        };
        let only = || the_only(&running(proc.path(), 7).unwrap());
        process("7", NAME);
        process("8", "cat");
        process("self", NAME);
        std::fs::create_dir(proc.path().join("9")).unwrap();
        assert!(only().unwrap_err().contains("no nats-server"));
        process("10", NAME);
        assert_eq!(only(), Ok(10));
        process("11", NAME);
        assert!(only().unwrap_err().ends_with("running:\n10\n11"));
        assert!(running(&proc.path().join("none"), 7).unwrap_err().contains("none"));
    }
}
