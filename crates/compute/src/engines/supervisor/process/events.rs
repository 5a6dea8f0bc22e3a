//! What the supervisor does about what comes: the node and its orders, output, ends.

use super::{Supervisor, short};
use crate::cgroup::Machine;
use crate::engines::supervisor::child::Process;
use crate::engines::supervisor::node::Node;
use crate::engines::supervisor::{End, OUTPUT, Order, STARTED};
use crate::logs::frame::LogStream;
use rustix::process::{Signal, WaitStatus};
use std::fs;
use std::io::{self, Read};
use std::time::Instant;

impl Supervisor {
    /// A life of the node comes. There is only one at a time; another one that was there is gone.
    pub(super) fn welcome(&mut self) {
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

    pub(super) fn hear(&mut self) {
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

    pub(super) fn kill(&self) {
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

    pub(super) fn read(&mut self, which: usize) {
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
    pub(super) fn started(&mut self) {
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

    pub(super) fn ended(&mut self) {
        let Some(program) = self.program.take() else { return };
        let status = program.bury().ok();
        let end = End::Ended {
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
        };
        self.end = Some((end, Instant::now()));
    }
}
