//! What users, operators and misfortune do to the cluster.

use super::{Cluster, Event, clock_text};
use crate::faults::{CrashPoint, Fault, Host, Way};
use crate::invariants::Violation;
use crate::network::Packet;
use crate::orchestrator::Command;
use crate::pipeline::Left;
use crate::workload::{self, Action};
use crate::{MS, SECOND, bugs::Bug};

impl Cluster {
    pub(super) fn user(&mut self, action: Action) -> Result<(), Violation> {
        if !self.orchestrator.is_up() {
            // People try again.
            let pause = self.random.i64(1..10) * SECOND;
            self.at(pause, Event::User(Box::new(action)));
            return Ok(());
        }
        self.to_come -= 1;
        self.trace.add(|| format!("{} user: {action}", clock_text(self.now)));
        self.orchestrator.push(Command::User(Box::new(action)));
        self.turn(Host::Orchestrator)
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        self.trace.add(|| format!("{} fault: {fault:?}", clock_text(self.now)));
        let now = self.now;
        match fault {
            Fault::Crash(host, length) => self.crash_any_time(host, length)?,
            Fault::CrashAtCommit(host, point, length) => self.hardship(host).dies = Some((point, length)),
            Fault::Wipe(n, length) => self.crash(Host::Node(n), Left::Nothing, true, Some(length))?,
            Fault::Freeze(host, length) => {
                let hardship = self.hardship(host);
                hardship.frozen_until = hardship.frozen_until.max(now + length);
            }
            Fault::Cut(nodes, way, length) => {
                for n in nodes {
                    let Some(link) = self.links.get_mut(n) else { continue };
                    if way != Way::ToOrchestrator {
                        link.down_until = link.down_until.max(now + length);
                    }
                    if way != Way::ToNode {
                        link.up_until = link.up_until.max(now + length);
                    }
                    if way == Way::Both {
                        self.connection_lost(n);
                    }
                }
            }
            Fault::ClockJump(host, by) => match host {
                Host::Orchestrator => self.orchestrator.clock.jump(by),
                Host::Node(n) => {
                    if let Some(node) = self.nodes.get_mut(n) {
                        node.clock.jump(by);
                    }
                }
            },
            Fault::SlowDisk(host, most, length) => {
                let hardship = self.hardship(host);
                (hardship.slow_until, hardship.slow_most) = (now + length, most);
            }
            Fault::Relabel(n) => {
                let zone = workload::zone(&mut self.random);
                if let Some(node) = self.nodes.get_mut(n) {
                    node.relabel(zone);
                }
            }
            Fault::Leave(n, says_so, back) => {
                if let Some(node) = self.nodes.get(n).filter(|node| says_so && node.core.is_some()) {
                    let go_on = node.going_on();
                    self.send_to_orchestrator(n, vec![Packet::Goodbye(go_on)]);
                }
                self.crash(Host::Node(n), Left::All, false, back)?;
            }
        }
        Ok(())
    }

    fn crash_any_time(&mut self, host: Host, length: i64) -> Result<(), Violation> {
        let left = match self.random.u32(0..3) {
            0 => Left::Nothing,
            1 => Left::All,
            _ => Left::Batches(self.random.usize(0..4)),
        };
        self.crash(host, left, false, Some(length))
    }

    /// A host dies while its transaction is written, or right after.
    pub(super) fn crash_at(&mut self, host: Host, point: CrashPoint, length: i64) -> Result<(), Violation> {
        self.trace.add(|| format!("{} {host:?} dies at a commit: {point:?}", clock_text(self.now)));
        let left = match point {
            CrashPoint::Before => Left::Nothing,
            CrashPoint::Torn if self.orchestrator.has_bug(Bug::TornTransactions) => {
                Left::Changes(self.random.usize(0..8))
            }
            CrashPoint::Torn => Left::Batches(self.random.usize(0..4)),
            CrashPoint::After => Left::All,
            CrashPoint::Telling => {
                self.write(host)?;
                let some = self.random.usize(0..3);
                self.release(host, some)?;
                Left::Nothing
            }
        };
        self.crash(host, left, false, Some(length))
    }

    /// A host dies, and comes back after `length`, if ever.
    fn crash(&mut self, host: Host, left: Left, wipe: bool, length: Option<i64>) -> Result<(), Violation> {
        self.report.crashes += 1;
        let hardship = self.hardship(host);
        (hardship.wake_at, hardship.frozen_until) = (None, 0);
        match host {
            Host::Orchestrator => {
                if !self.orchestrator.is_up() {
                    return Ok(());
                }
                if self.orchestrator.is_quiet() {
                    self.report.restarts_compared += 1;
                    self.orchestrator.check_restart(self.now)?;
                }
                self.orchestrator.crash(left, &self.truth)?;
            }
            Host::Node(n) => {
                let Some(node) = self.nodes.get_mut(n).filter(|node| !node.gone) else { return Ok(()) };
                node.crash(left, wipe, &mut self.truth);
                node.gone = length.is_none();
                self.connection_lost(n);
            }
        }
        if let Some(length) = length {
            let life = self.life(host);
            self.at(length, Event::Start { host, life });
        }
        Ok(())
    }

    /// The orchestrator's server notices a broken connection, sometimes, soon.
    fn connection_lost(&mut self, n: usize) {
        if self.random.bool() {
            let delay = self.random.i64(0..200) * MS;
            self.at(delay, Event::LostConnection(n));
        }
    }
}
