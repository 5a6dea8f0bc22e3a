//! Runs a helper program of the operator's or the machine's: bounded in time and output, and never left behind.
//!
//! It runs in a process group of its own, which is killed as a whole when it takes too long or nobody waits any more.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Bytes of each of its outputs that are kept; what is beyond is read and dropped.
const MOST: u64 = 1 << 20;

/// How long output is waited for after the end of the program, where others still hold it.
const AFTER_END: Duration = Duration::from_secs(1);

/// How a program ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed, at most a MiB.
    pub(crate) stdout: Vec<u8>,
    /// The same of standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Errors
/// It cannot be started, or takes longer than `limit` ([`io::ErrorKind::TimedOut`]).
pub(crate) async fn run(mut command: Command, input: Vec<u8>, limit: Duration) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let mut group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program need not read what it is given.
            let _ = stdin.write_all(&input).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // Not ended yet, it is killed with all it has started when `group` is dropped.
    let status = {
        let mut talk =
            std::pin::pin!(async { tokio::join!(feed, head(stdout, &mut out), head(stderr, &mut err)) });
        let all = async {
            let talked = tokio::select! {
                status = child.wait() => {
                    // What it has left behind may hold its output for ever; its own is there, or comes at once.
                    let talked = tokio::time::timeout(AFTER_END, &mut talk).await;
                    return (status, talked.ok());
                }
                talked = &mut talk => talked,
            };
            (child.wait().await, Some(talked))
        };
        let ended = tokio::time::timeout(limit, all).await;
        let (status, talked) = ended.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        if let Some(((), out, err)) = talked {
            out.and(err)?;
            group.0 = None;
        }
        status?
    };
    Ok(Output { code: status.code(), stdout: out, stderr: err })
}

/// Reads to the end and keeps the beginning.
async fn head(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    if let Some(mut from) = from {
        (&mut from).take(MOST).read_to_end(kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(())
}

/// A process group that dies with this.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a helper program was gone before it could be killed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_gets_input_and_says_how_it_ended() {
        let output = run(shell("cat; echo no >&2; exit 3"), b"in".to_vec(), PATIENCE).await.unwrap();
        assert_eq!(output, Output { code: Some(3), stdout: b"in".to_vec(), stderr: b"no\n".to_vec() });
        let output = run(shell("kill -9 $$"), vec![0; 1 << 20], PATIENCE).await.unwrap();
        assert_eq!(output.code, None);
        assert!(run(Command::new("no such program"), Vec::new(), PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn who_leaves_something_behind_has_ended_all_the_same() {
        let output = run(shell("sleep 3600 & echo yes; exit 3"), Vec::new(), PATIENCE).await.unwrap();
        assert_eq!((output.code, output.stdout), (Some(3), b"yes\n".to_vec()));
    }

    #[tokio::test]
    async fn output_is_bounded() {
        let output = run(shell("head -c 3000000 /dev/zero"), Vec::new(), PATIENCE).await.unwrap();
        assert_eq!((output.code, output.stdout.len()), (Some(0), 1 << 20));
    }

    #[tokio::test]
    async fn the_whole_group_dies_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        // The shell's child has its own child, which would go on for an hour.
        let script = format!("(sleep 3600 & echo $! > {0}.new; mv {0}.new {0}; wait)", file.display());
        let killed = tokio::spawn(run(shell(&script), Vec::new(), PATIENCE * 60));
        let pid: i32 = loop {
            match std::fs::read_to_string(&file) {
                Ok(text) => break text.trim().parse().unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        killed.abort();
        assert!(killed.await.unwrap_err().is_cancelled());
        // Nobody waits for an orphan here, so it may stay as a zombie; it must not run.
        let runs =
            || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
        while runs() {
            tokio::task::yield_now().await;
        }
        let error = run(shell("sleep 3600"), Vec::new(), Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
