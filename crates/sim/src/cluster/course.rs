//! The course of a run: events one after the other, the end of the storm, and whether the goal is reached.

use super::{BEGINNING, Cluster, Event, MOST_EVENTS, MOST_RESTLESS, PATIENCE, Report, STABLE, clock_text};
use crate::faults::Host;
use crate::goal;
use crate::invariants::{Violation, broken};
use crate::network::{Link, Packet, Weather};
use crate::orchestrator::Command;
use crate::trace::Failure;
use crate::{MS, SECOND, workload};

impl Cluster {
    pub(super) fn go(mut self) -> Result<Report, Failure> {
        let storm_ends = self.storm_ends;
        match self.until_the_end(storm_ends) {
            Ok(()) => Ok(self.finish()),
            Err(violation) => {
                let at = clock_text(self.now);
                Err(Failure { seed: self.seed, violation, at, trace: self.trace.lines() })
            }
        }
    }

    fn until_the_end(&mut self, storm_ends: i64) -> Result<(), Violation> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.report.events += 1;
            if let Some(host) = event.host() {
                let until = self.hardship(host).frozen_until;
                if at < until {
                    self.at(until - at, event);
                    continue;
                }
            }
            if !self.calm && at >= storm_ends {
                self.calm_down();
            }
            if matches!(event, Event::Look) {
                if self.look()? {
                    return Ok(());
                }
            } else {
                self.handle(event)?;
            }
            if at > storm_ends + PATIENCE || self.report.events > MOST_EVENTS {
                return broken("M1", self.unfinished());
            }
        }
        broken("M1", "nothing happens any more")
    }

    fn calm_down(&mut self) {
        self.trace.add(|| format!("{} -- the storm is over --", clock_text(self.now)));
        self.calm = true;
        self.weather = Weather::FAIR;
        self.links.iter_mut().for_each(|link| *link = Link::default());
        for hardship in self.hardships.values_mut() {
            (hardship.frozen_until, hardship.slow_until, hardship.dies) = (0, 0, None);
        }
    }

    /// Looks again, never in step with what hosts do at fixed times.
    fn look_in(&mut self, delay: i64) {
        let jitter = self.random.i64(0..1_000) * MS;
        self.at(delay + jitter, Event::Look);
    }

    /// Looks whether the goal is reached. True when it was for long enough.
    fn look(&mut self) -> Result<bool, Violation> {
        if self.unmet().is_some() {
            self.reached = None;
            self.look_in(SECOND);
            return Ok(false);
        }
        let executions = self.orchestrator.disk.executions();
        let (since, then) = *self.reached.get_or_insert((self.now, executions));
        if executions != then {
            // A job that waited may have failed, which is somebody else's chance; but that comes to an end.
            self.restless += 1;
            if self.restless > MOST_RESTLESS {
                return broken(
                    "M2",
                    format!("{} executions more, and it goes on like that", executions - then),
                );
            }
            self.reached = None;
            self.look_in(SECOND);
            return Ok(false);
        }
        if self.now - since < STABLE {
            self.look_in(20 * SECOND);
            return Ok(false);
        }
        self.orchestrator.check_restart(self.now)?;
        self.orchestrator.watch.all_kept(&self.orchestrator.disk)?;
        Ok(true)
    }

    fn unmet(&self) -> Option<String> {
        if self.to_come > 0 {
            return Some(format!("{} users and faults are still to come", self.to_come));
        }
        goal::unmet(&self.orchestrator, &self.nodes)
    }

    fn finish(mut self) -> Report {
        let watch = &self.orchestrator.watch;
        self.report.deleted = watch.deleted.len();
        self.report.runs = watch.runs.len();
        self.report.jobs = self.orchestrator.disk.jobs.len() + watch.deleted.len();
        self.report.executions = self.orchestrator.disk.executions();
        self.report.seconds = (self.now - BEGINNING) / SECOND;
        self.report.commits = self.hardships.iter().map(|(host, h)| (*host, h.commits)).collect();
        self.report.trace = self.trace.digest();
        self.report
    }

    fn unfinished(&self) -> String {
        let census = self.orchestrator.core.as_ref().map(|core| core.census());
        let unmet = self.unmet().unwrap_or_else(|| "the goal does not last".to_owned());
        let audit = self.orchestrator.core.as_ref().map(|core| core.audit()).unwrap_or_default();
        let audit: Vec<String> =
            audit.iter().map(|(subject, what)| format!("\n    {subject}: {what}")).collect();
        format!("not converged after {} events: {unmet}; {census:?}{}", self.report.events, audit.concat())
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start { host, life } if life == self.life(host) => self.start(host),
            Event::Committed { host, life } if life == self.life(host) => self.committed(host),
            Event::Wake { host, life } if life == self.life(host) => {
                let now = self.now;
                let hardship = self.hardship(host);
                if hardship.wake_at.is_some_and(|at| at > now) {
                    // An earlier one came first and asked for the next by itself.
                    return Ok(());
                }
                hardship.wake_at = None;
                self.turn(host)
            }
            // A packet belongs to a connection, and a connection to a process.
            Event::Arrive { to, from, life, packet } if life == self.life(to) => {
                self.arrive(to, from, *packet)
            }
            Event::Fault(fault) => {
                self.to_come -= 1;
                if self.calm { Ok(()) } else { self.fault(fault) }
            }
            Event::User(action) => self.user(*action),
            Event::LostConnection(n) => {
                self.orchestrator.push(Command::ConnectionLost(workload::node_id(n)));
                self.turn(Host::Orchestrator)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, host: Host) -> Result<(), Violation> {
        self.trace.add(|| format!("{} {host:?} starts", clock_text(self.now)));
        match host {
            Host::Orchestrator => self.orchestrator.start(self.now, self.random.u64(..)),
            Host::Node(n) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.start(self.now);
                }
            }
        }
        self.turn(host)
    }

    fn arrive(&mut self, to: Host, from: Host, packet: Packet) -> Result<(), Violation> {
        if !matches!(packet, Packet::Heartbeat(..) | Packet::HeartbeatAnswer(_)) {
            self.trace.add(|| format!("{} {from:?} > {to:?}: {packet}", clock_text(self.now)));
        }
        match (to, from) {
            (Host::Orchestrator, Host::Node(n)) => {
                self.orchestrator.push(Command::Packet(workload::node_id(n), Box::new(packet)));
            }
            (Host::Node(n), _) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.push(packet);
                }
            }
            _ => {}
        }
        // Sometimes a busy host takes in several things at once.
        if self.random.u32(0..8) == 0 {
            let (life, delay) = (self.life(to), self.random.i64(1..20) * MS);
            let at = self.now + delay;
            let now = self.now;
            let hardship = self.hardship(to);
            if hardship.wake_at.is_none_or(|already| already > at || already <= now) {
                hardship.wake_at = Some(at);
                self.at(delay, Event::Wake { host: to, life });
            }
            return Ok(());
        }
        self.turn(to)
    }
}
