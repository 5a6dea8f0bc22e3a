//! The node's end of the socket to a supervisor.

use super::{End, ORDER, OUTPUT, Order, Plan, SOCKET, STARTED};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Longest time from a supervisor's start to its socket.
const COMING: Duration = Duration::from_secs(15);

/// How often it is looked for until then.
const LOOK: Duration = Duration::from_millis(5);

/// A supervisor that is there. To drop this leaves it, and what it looks after, as they are.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: UnixStream,
    /// If this life of the node started it.
    child: Option<Child>,
}

/// What a supervisor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The program runs.
    Started,
    /// There is output.
    Output,
    /// The supervisor has ended.
    Gone,
}

impl Supervisor {
    /// Starts one: `command` is a program with its first arguments, `end` what [`End::reserve`] gave, which the supervisor
    /// keeps open.
    pub(crate) async fn start(command: &[OsString], plan: &Plan, end: File) -> io::Result<Supervisor> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut text = serde_json::to_vec(plan)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(end)
            .stderr(Stdio::null())
            // What the node's environment says may be secret, and is none of a runtime's business.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .spawn()?;
        own.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(own)?;
        let mut message = length.to_le_bytes().to_vec();
        message.append(&mut text);
        socket.write_all(&message).await?;
        Ok(Supervisor { socket, child: Some(child) })
    }

    /// The one of this folder; `None` when there is none any more. One that was just started is waited for.
    pub(crate) async fn find(place: &Path) -> Option<Supervisor> {
        let folder =
            rustix::fs::open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .ok()?;
        // The names of sockets are short, those of folders need not be.
        let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
        let give_up = Instant::now() + COMING;
        loop {
            if let Ok(socket) = UnixStream::connect(&path).await {
                return Some(Supervisor { socket, child: None });
            }
            if !End::is_awaited(place) {
                return None;
            }
            if Instant::now() >= give_up {
                tracing::warn!(folder = %place.display(), "a supervisor does not answer");
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What comes next. May be dropped while it waits.
    pub(crate) async fn news(&mut self) -> News {
        let mut letter = [0];
        loop {
            match self.socket.read(&mut letter).await {
                Ok(1) if letter == [STARTED] => return News::Started,
                Ok(1) if letter == [OUTPUT] => return News::Output,
                // A newer one may say more.
                Ok(1) => {}
                Ok(_) | Err(_) => return News::Gone,
            }
        }
    }

    /// Tells it what to do. One that is gone needs not be told. May be dropped half-way only with the whole.
    pub(crate) async fn order(&mut self, order: Order) {
        let bytes: [u8; ORDER] = order.encode();
        let _ = self.socket.write_all(&bytes).await;
    }

    /// Waits for its end after [`News::Gone`], or that long; gives whether it has ended.
    pub(crate) async fn ended(&mut self, limit: Duration) -> bool {
        let gone = async { while self.socket.read(&mut [0; 64]).await.is_ok_and(|length| length > 0) {} };
        let ended = tokio::time::timeout(limit, gone).await.is_ok();
        if let (true, Some(child)) = (ended, &mut self.child) {
            // The socket closes a moment before its process is over.
            let _ = tokio::time::timeout(limit, child.wait()).await;
        }
        ended
    }
}
