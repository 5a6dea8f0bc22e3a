//! What a host does when it is its turn: it lets out what is on disk, takes in what waits, writes, sends and sleeps.

use super::{Cluster, Event};
use crate::compute::{NodeHost, World};
use crate::faults::{Host, commit_time};
use crate::invariants::Violation;
use crate::network::Packet;
use crate::orchestrator::Outgoing;
use crate::{MS, SECOND};

impl Cluster {
    /// The transaction of a host is on disk, or its end is.
    pub(super) fn committed(&mut self, host: Host) -> Result<(), Violation> {
        let number = self.hardship(host).commits;
        self.hardship(host).commits += 1;
        if let Some((planned, at, point)) = self.planned_crash
            && planned == host
            && at == number
        {
            self.planned_crash = None;
            self.hardship(host).dies = Some((point, SECOND));
        }
        if let Some((point, length)) = self.hardship(host).dies.take() {
            return self.crash_at(host, point, length);
        }
        self.write(host)?;
        self.turn(host)
    }

    pub(super) fn write(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => self.orchestrator.committed(&self.truth)?,
            Host::Node(n) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.committed();
                }
            }
        }
        Ok(())
    }

    /// A host does everything it can do now, as its shell's loop would.
    pub(super) fn turn(&mut self, host: Host) -> Result<(), Violation> {
        loop {
            self.release(host, usize::MAX)?;
            let before = self.in_flight(host);
            self.work(host)?;
            self.begin(host);
            if self.in_flight(host) == before {
                break;
            }
            // What has no changes needs no disk and leaves at once.
        }
        self.deliver(host);
        self.sleep(host);
        self.check(host)
    }

    fn in_flight(&self, host: Host) -> usize {
        match host {
            Host::Orchestrator => self.orchestrator.pipeline.len(),
            Host::Node(n) => self.nodes.get(n).map_or(0, |node| node.pipeline.len()),
        }
    }

    pub(super) fn release(&mut self, host: Host, most: usize) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.release(self.now, most)?;
                self.send_to_nodes(outgoing);
            }
            Host::Node(n) => {
                let Some((node, mut world)) = self.node_in_world(n) else { return Ok(()) };
                let outgoing = node.release(most, &mut world)?;
                self.send_to_orchestrator(n, outgoing);
            }
        }
        Ok(())
    }

    /// A node and what it may touch of the world.
    fn node_in_world(&mut self, n: usize) -> Option<(&mut NodeHost, World<'_>)> {
        let (random, truth) = (&mut self.random, &mut self.truth);
        let world = World { now: self.now, random, truth, calm: self.calm };
        Some((self.nodes.get_mut(n)?, world))
    }

    fn work(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.work(self.now)?;
                self.send_to_nodes(outgoing);
                self.check_messages()
            }
            Host::Node(n) => {
                let Some((node, mut world)) = self.node_in_world(n) else { return Ok(()) };
                let outgoing = node.work(&mut world)?;
                self.send_to_orchestrator(n, outgoing);
                self.check_reports(n)
            }
        }
    }

    /// Begins a transaction when there is something to write.
    fn begin(&mut self, host: Host) {
        let begun = match host {
            Host::Orchestrator => self.orchestrator.pipeline.begin(),
            Host::Node(n) => self.nodes.get_mut(n).is_some_and(|node| node.pipeline.begin()),
        };
        if begun {
            let (now, hardship) = (self.now, *self.hardship(host));
            let time = match now < hardship.slow_until {
                true => self.random.i64(MS..hardship.slow_most.max(2 * MS)),
                false => commit_time(&mut self.random),
            };
            let life = self.life(host);
            self.at(time, Event::Committed { host, life });
        }
    }

    fn deliver(&mut self, host: Host) {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.deliver(self.now);
                self.send_to_nodes(outgoing);
            }
            Host::Node(n) => {
                let Some(node) = self.nodes.get_mut(n) else { return };
                let outgoing = node.deliver(self.now);
                self.send_to_orchestrator(n, outgoing);
            }
        }
    }

    /// Wakes a host when something is due, once. While its pipeline is full the next commit wakes it.
    fn sleep(&mut self, host: Host) {
        let next = match host {
            Host::Orchestrator => {
                self.orchestrator.next_wakeup().filter(|_| self.orchestrator.pipeline.has_room())
            }
            Host::Node(n) => {
                let node = self.nodes.get(n);
                node.filter(|node| node.pipeline.has_room()).and_then(NodeHost::next_wakeup)
            }
        };
        let Some(at) = next.map(|at| at.max(self.now + MS)) else { return };
        let now = self.now;
        let wake_at = &mut self.hardship(host).wake_at;
        if wake_at.is_some_and(|already| already <= at && already > now) {
            return;
        }
        *wake_at = Some(at);
        let life = self.life(host);
        self.at(at - now, Event::Wake { host, life });
    }

    fn send_to_nodes(&mut self, outgoing: Outgoing) {
        for (id, packet) in outgoing {
            let Some(n) = self.nodes.iter().position(|node| node.id == id) else { continue };
            if self.links.get(n).is_some_and(|link| link.down_until > self.now) {
                continue;
            }
            self.send(Host::Node(n), Host::Orchestrator, packet);
        }
    }

    pub(super) fn send_to_orchestrator(&mut self, n: usize, outgoing: Vec<Packet>) {
        if self.links.get(n).is_some_and(|link| link.up_until > self.now) {
            return;
        }
        for packet in outgoing {
            self.send(Host::Orchestrator, Host::Node(n), packet);
        }
    }

    fn send(&mut self, to: Host, from: Host, packet: Packet) {
        let life = self.life(to);
        for delay in self.weather.deliver(&mut self.random).into_iter().flatten() {
            self.at(delay, Event::Arrive { to, from, life, packet: Box::new(packet.clone()) });
        }
    }
}
