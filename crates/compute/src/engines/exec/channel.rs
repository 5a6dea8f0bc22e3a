//! The node's end of the socket to a supervisor.

use super::plan::{Order, Report, Request};
use rustix::fs::{Gid, Uid, fchown};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Pid;
use std::ffi::OsString;
use std::io::{self, IoSliceMut, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Bytes of reports that may wait at most.
const BUFFER: usize = 16 * 1024;

/// A running supervisor. When this is dropped it kills its task and ends.
pub(super) struct Channel {
    socket: UnixStream,
    child: Child,
    buffer: Vec<u8>,
    handles: Vec<OwnedFd>,
}

/// What the task prints.
pub(super) struct Output {
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

impl Channel {
    /// Starts a supervisor and tells it what for.
    pub(super) async fn open(supervisor: &[OsString], request: &Request) -> io::Result<(Channel, Output)> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (stdout, stdout_theirs) = io::pipe()?;
        let (stderr, stderr_theirs) = io::pipe()?;
        if let Request::Run(plan) = request
            && let Some((uid, gid)) = plan.user
        {
            // The task may open them anew, as `/dev/stdout`.
            for pipe in [&stdout_theirs, &stderr_theirs] {
                fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
        }
        let (program, arguments) = supervisor.split_first().ok_or(io::ErrorKind::NotFound)?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout_theirs)
            .stderr(stderr_theirs)
            .spawn()?;
        own.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(own)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        socket.write_all(&line).await?;
        let channel = Channel { socket, child, buffer: Vec::new(), handles: Vec::new() };
        Ok((channel, Output { stdout, stderr }))
    }

    /// The supervisor's number, as long as it has not been buried.
    pub(super) fn supervisor(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// The next report. An error means that the supervisor is gone. May be dropped while it waits.
    pub(super) async fn report(&mut self) -> io::Result<Report> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.buffer.len() > BUFFER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.socket.readable().await?;
            let Channel { socket, buffer, handles, .. } = self;
            match socket.try_io(Interest::READABLE, || receive(&*socket, buffer, handles)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// The socket that came with [`Report::Listening`].
    pub(super) fn take_listener(&mut self) -> io::Result<tokio::net::TcpListener> {
        let handle = self.handles.pop().ok_or(io::ErrorKind::NotFound)?;
        let listener = std::net::TcpListener::from(handle);
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }

    /// Tells the supervisor what to do. One that is gone needs not be told.
    pub(super) async fn order(&mut self, order: Order) {
        let Ok(mut line) = serde_json::to_vec(&order) else { return };
        line.push(b'\n');
        let _ = self.socket.write_all(&line).await;
    }

    /// Waits for the supervisor's end.
    pub(super) async fn ended(mut self) {
        drop(self.socket);
        // Nothing can be done about a process that cannot be waited for.
        let _ = self.child.wait().await;
    }

    /// Kills a supervisor that does not answer, and does not wait: one that hangs in the kernel never ends.
    pub(super) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }
}

/// Reads what is there, and the handles that come with it.
fn receive(socket: impl AsFd, buffer: &mut Vec<u8>, handles: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            handles.extend(rights);
        }
    }
    // Only the last is ever wanted.
    handles.drain(..handles.len().saturating_sub(1));
    buffer.extend(bytes.iter().take(received.bytes));
    Ok(received.bytes)
}
