//! The supervisor itself: one thread that waits for whatever comes first, output, orders, or an end.
//!
//! It must never need the node, and leave nothing running when it ends.

use super::child::Process;
use super::node::Node;
use super::spool::Spool;
use super::{END_SIZE, End, LARGEST_PLAN, NAMESPACE, OUTPUT, Order, Plan, SOCKET, STARTED};
use crate::cgroup::Machine;
use crate::logs::frame::{self, LogStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitStatus, getpid, set_child_subreaper, setsid};
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Output that a node which is there may leave unlogged before the program has to wait, bytes.
const BACKLOG: u64 = 8 << 20;

/// Longest time for the last output of a program that has ended. All of its group is dead; only a process from elsewhere
/// could still hold the pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Runs a supervisor on standard input, which has to be a socket.
pub fn supervise() -> ExitCode {
    let Ok((plan, node)) = receive() else { return ExitCode::FAILURE };
    let folder = plan.folder.clone();
    let noted = match Supervisor::start(plan, node) {
        Ok(supervisor) => supervisor.run(),
        Err(why) => End::NotStarted(Some(short(&why.to_string()))).note(&folder),
    };
    // Room for it was made; if this fails the node says that the program's end is not known.
    if noted.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As much of a sentence as can be noted.
fn short(text: &str) -> String {
    text.chars().take(END_SIZE / 16).collect()
}

fn receive() -> io::Result<(Plan, UnixStream)> {
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

struct Supervisor {
    plan: Plan,
    listener: UnixListener,
    node: Option<Node>,
    starter: Option<Process>,
    program: Option<Process>,
    pipes: [Option<PipeReader>; 2],
    spool: Spool,
    buffer: Vec<u8>,
    /// Asked for before the program was there.
    terminate: bool,
    killed: bool,
    end: Option<(End, Instant)>,
    _namespace: Option<File>,
}

/// What there is to do.
struct Ready {
    starter: bool,
    program: bool,
    listener: bool,
    node: bool,
    pipes: [bool; 2],
}

impl Supervisor {
    /// Starts what starts the program.
    fn start(plan: Plan, node: UnixStream) -> io::Result<Supervisor> {
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

    /// Goes on until the program has ended, and notes how: before the node can see that nobody is there any more.
    fn run(mut self) -> io::Result<()> {
        loop {
            let Ok(ready) = self.wait() else {
                self.kill();
                return End::Ended { code: None, signal: None }.note(&self.plan.folder);
            };
            if ready.node {
                self.hear();
            }
            if ready.listener {
                self.welcome();
            }
            for (which, ready) in ready.pipes.into_iter().enumerate() {
                if ready {
                    self.read(which);
                }
            }
            if ready.starter {
                self.started();
            }
            if ready.program {
                self.ended();
            }
            let drained = self.pipes.iter().all(Option::is_none);
            if let Some((end, at)) = &self.end
                && (drained || at.elapsed() >= LAST_OUTPUT)
            {
                return end.note(&self.plan.folder);
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        // A program that prints faster than a node that is there can log has to wait.
        let reads = self.end.is_some() || self.node.is_none() || self.spool.backlog() < BACKLOG;
        let [stdout, stderr] =
            self.pipes.each_ref().map(|pipe| pipe.as_ref().filter(|_| reads).map(AsFd::as_fd));
        let sources: [Option<BorrowedFd<'_>>; 6] = [
            self.starter.as_ref().map(|process| process.handle.as_fd()),
            self.program.as_ref().map(|process| process.handle.as_fd()),
            Some(self.listener.as_fd()),
            self.node.as_ref().map(|node| node.socket.as_fd()),
            stdout,
            stderr,
        ];
        let mut watched: Vec<PollFd<'_>> =
            sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        let limit = self.end.is_some().then_some(&limit);
        match poll(&mut watched, limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut answers = watched.iter().map(|fd| !fd.revents().is_empty());
        let [starter, program, listener, node, stdout, stderr] =
            sources.map(|source| source.is_some() && answers.next().unwrap_or(false));
        Ok(Ready { starter, program, listener, node, pipes: [stdout, stderr] })
    }

    /// A life of the node comes. There is only one at a time; another one that was there is gone.
    fn welcome(&mut self) {
        let Ok((socket, _)) = self.listener.accept() else { return };
        let Ok(mut node) = Node::new(socket) else { return };
        if self.program.is_some() {
            node.tell(STARTED);
        }
        if self.spool.backlog() > 0 {
            node.told = true;
            node.tell(OUTPUT);
        }
        self.node = Some(node);
    }

    fn hear(&mut self) {
        let Some(node) = &mut self.node else { return };
        match node.orders() {
            Some(orders) => orders.into_iter().for_each(|order| self.obey(order)),
            None => self.node = None,
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Terminate => {
                self.terminate = true;
                if let Some(program) = &self.program {
                    program.signal(Signal::TERM);
                }
            }
            Order::Kill => {
                self.killed = true;
                self.kill();
            }
            Order::Logged(position) => {
                self.spool.logged(position);
                if let Some(node) = &mut self.node {
                    node.told = false;
                }
                self.tell_output();
            }
        }
    }

    fn kill(&self) {
        for process in self.starter.iter().chain(&self.program) {
            process.signal(Signal::KILL);
        }
        self.plan.cgroup.kill_once();
    }

    fn tell_output(&mut self) {
        if let Some(node) = self.node.as_mut().filter(|node| !node.told)
            && self.spool.backlog() > 0
        {
            node.told = true;
            node.tell(OUTPUT);
        }
    }

    fn read(&mut self, which: usize) {
        let Some(slot) = self.pipes.get_mut(which) else { return };
        let Some(pipe) = slot else { return };
        match pipe.read(&mut self.buffer) {
            Ok(length @ 1..) => {
                let stream = if which == 0 { LogStream::Stdout } else { LogStream::Stderr };
                self.spool.keep(stream, self.buffer.get(..length).unwrap_or_default());
                self.tell_output();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A broken pipe is an end like any other.
            Ok(_) | Err(_) => *slot = None,
        }
    }

    /// What starts the program has ended.
    fn started(&mut self) {
        let Some(starter) = self.starter.take() else { return };
        let has_started = starter.bury().is_ok_and(|status| status.exit_status() == Some(0));
        let program = if has_started { self.find_program() } else { Err(io::ErrorKind::NotFound.into()) };
        match program {
            Ok(program) => {
                if self.terminate {
                    program.signal(Signal::TERM);
                }
                self.program = Some(program);
                if self.killed {
                    self.kill();
                }
                if let Some(node) = &mut self.node {
                    node.tell(STARTED);
                }
                // If that fails, a service manager may end the program with its node.
                let _ = Machine::find().leave_service(&self.plan.own_cgroup);
            }
            Err(error) => {
                self.plan.cgroup.kill_once();
                let why = has_started.then(|| short(&format!("its process is not known: {error}")));
                self.end = Some((End::NotStarted(why), Instant::now()));
            }
        }
    }

    fn find_program(&self) -> io::Result<Process> {
        let text = fs::read_to_string(&self.plan.pid_file)?;
        Process::open(text.trim().parse().map_err(io::Error::other)?)
    }

    fn ended(&mut self) {
        let Some(program) = self.program.take() else { return };
        let status = program.bury().ok();
        let end = End::Ended {
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
        };
        self.end = Some((end, Instant::now()));
    }
}
