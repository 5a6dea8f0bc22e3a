//! The supervisor itself: one thread that waits for whatever comes first, output, orders, or an end.
//!
//! It must never need the node, and leave nothing running when it ends.

mod begin;
mod events;

use super::child::Process;
use super::node::Node;
use super::spool::Spool;
use super::{END_SIZE, End, Plan};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Output that a node which is there may leave unlogged before the program has to wait, bytes.
const BACKLOG: u64 = 8 << 20;

/// Longest time for the last output of a program that has ended. All of its group is dead; only a process from elsewhere
/// could still hold the pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Runs a supervisor on standard input, which has to be a socket.
pub fn supervise() -> ExitCode {
    let Ok((plan, node)) = begin::receive() else { return ExitCode::FAILURE };
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
}
