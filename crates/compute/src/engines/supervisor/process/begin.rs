//! The beginning: what is to be run comes through standard input, and what starts it is started.

use super::Supervisor;
use crate::engines::supervisor::child::Process;
use crate::engines::supervisor::node::Node;
use crate::engines::supervisor::spool::Spool;
use crate::engines::supervisor::{LARGEST_PLAN, NAMESPACE, Plan, SOCKET};
use crate::logs::frame;
use rustix::fs::{Mode, OFlags};
use rustix::process::{getpid, set_child_subreaper, setsid};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

/// What the node wants to have run, and the way to it.
pub(super) fn receive() -> io::Result<(Plan, UnixStream)> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Anything but a socket is somebody trying out a hidden command.
    socket.peer_addr()?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length).min(LARGEST_PLAN);
    let mut text = Vec::new();
    (&mut socket).take(u64::from(length)).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, socket))
}

impl Supervisor {
    /// Starts what starts the program.
    pub(super) fn start(plan: Plan, node: UnixStream) -> io::Result<Supervisor> {
        // What a terminal sends to the node is not for it. Fails for the leader of a session, which is as good.
        let _ = setsid();
        // The program comes here when what started it has ended.
        set_child_subreaper(Some(getpid()))?;
        let folder = rustix::fs::open(
            &plan.folder,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let namespace = plan.namespace.as_ref().map(File::open).transpose()?;
        if let Some(file) = &namespace {
            let link = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            std::os::unix::fs::symlink(link, plan.folder.join(NAMESPACE))?;
        }
        // The names of sockets are short, those of folders need not be.
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
        listener.set_nonblocking(true)?;
        let (stdout, stdout_theirs) = io::pipe()?;
        let (stderr, stderr_theirs) = io::pipe()?;
        let node = Some(Node::new(node)?);
        let (program, arguments) = &plan.starter;
        let mut starter = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout_theirs)
            .stderr(stderr_theirs)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot start {}: {e}", program.display())))?;
        let process = Process::open(i32::try_from(starter.id()).unwrap_or_default());
        let process = process.inspect_err(|_| {
            // Nobody could look after what it starts. That it has ended already is as good.
            let _ = starter.kill();
        })?;
        Ok(Supervisor {
            spool: Spool::new(&plan.folder),
            plan,
            listener,
            node,
            starter: Some(process),
            program: None,
            pipes: [Some(stdout), Some(stderr)],
            buffer: vec![0; frame::MAX_PAYLOAD],
            terminate: false,
            killed: false,
            end: None,
            _namespace: namespace,
        })
    }
}
