//! The engine and the probes of a compute node: what they are told, how long it takes, and how it ends.

use super::{NodeHost, World};
use crate::invariants::{Violation, broken};
use crate::network::Packet;
use crate::workload::{self, Course};
use crate::{MS, SECOND};
use bacalhau_compute::core::{Declined, Effect, Failed, Finished, Input, Start};
use bacalhau_model::Error;
use bacalhau_model::execution::{Execution, RunCommandResult};

/// Longer than any run, as a length and as a time.
pub(super) const FOR_EVER: i64 = i64::MAX / 4;

/// A run of the engine. Times are true ones: work takes as long as it takes, whatever the clock says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// When the task begins, after its preparation; `None` once it has.
    pub(super) starts: Option<i64>,
    pub(super) ends: i64,
    fails: bool,
    exit_code: i64,
    /// The task is done, its results take this long to publish.
    publishing: i64,
}

impl NodeHost {
    pub(super) fn effect(
        &mut self,
        effect: Effect<u64>,
        world: &mut World<'_>,
        outgoing: &mut Vec<Packet>,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Acknowledge(seq) => outgoing.push(Packet::MessageAck(seq)),
            Effect::Report { execution_id, kind } => self.outbox.push((execution_id, kind)),
            Effect::Run(execution, Start::Afresh) => self.run(&execution, world)?,
            Effect::Run(execution, Start::Adopt) => self.adopt(&execution.id, world),
            Effect::Run(execution, Start::Publish) => self.publish(&execution.id, world)?,
            Effect::Cancel(id) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    let stubborn = if world.random.u32(0..5) == 0 { 20 * SECOND } else { 50 * MS };
                    let ends = world.now + world.random.i64(MS..stubborn);
                    *run = Run { ends: ends.min(run.ends), fails: true, publishing: 0, ..*run };
                }
            }
            Effect::Probe(execution) => {
                self.probing.insert(execution.id.clone(), world.now + world.random.i64(1..3_000) * MS);
            }
        }
        Ok(())
    }

    /// Goes on with what survived the crash; now and then it did not.
    fn adopt(&mut self, id: &str, world: &mut World<'_>) {
        let lost = world.random.u32(0..5) == 0;
        match self.orphans.remove(id).filter(|_| !lost) {
            // It says again that it runs.
            Some(run) => {
                let starts = run.starts.or(Some(world.now));
                self.runs.insert(id.to_owned(), Run { starts, ..run });
            }
            None => self.missing.push(id.to_owned()),
        }
    }

    /// Publishes what was complete before the crash.
    fn publish(&mut self, id: &str, world: &mut World<'_>) -> Result<(), Violation> {
        if !self.complete.contains(id) {
            return broken("N4", format!("{id} is published on {}, it never ended there", self.id));
        }
        let ends = world.now + world.random.i64(MS..5 * SECOND);
        self.runs
            .insert(id.to_owned(), Run { starts: None, ends, fails: false, exit_code: 0, publishing: 0 });
        Ok(())
    }

    fn run(&mut self, execution: &Execution, world: &mut World<'_>) -> Result<(), Violation> {
        let job = execution.job.as_ref();
        let long_running =
            job.and_then(|job| job.job_type()).is_some_and(bacalhau_model::JobType::is_long_running);
        let again = !world.truth.started.insert((execution.id.clone(), self.id.clone()));
        if self.runs.contains_key(&execution.id) || (again && !long_running) {
            return broken("N1", format!("{} is started twice on {}", execution.id, self.id));
        }
        let Course { length, fails, exit_code, publishing } =
            workload::course(world.random, long_running, world.calm);
        let limit = job.and_then(|job| job.task()).map_or(0, |task| task.timeouts.execution_limit());
        let limit = if limit > 0 && !long_running { limit * SECOND } else { FOR_EVER };
        let length = length.unwrap_or(FOR_EVER);
        // Images and modules are there already, or not.
        let preparation = if world.random.bool() { 0 } else { world.random.i64(MS..8 * SECOND) };
        let starts = world.now + preparation;
        let run = Run {
            starts: Some(starts),
            ends: starts + length.min(limit),
            fails: fails || length > limit,
            exit_code,
            publishing,
        };
        self.runs.insert(execution.id.clone(), run);
        Ok(())
    }

    /// What the next life of the node can go on with.
    pub(crate) fn going_on(&self) -> Vec<String> {
        let goes_on = |id: &&String| self.outlives || self.complete.contains(*id);
        self.runs.keys().filter(goes_on).cloned().collect()
    }

    /// What the engine and the probes came to.
    pub(super) fn engine(&mut self, world: &mut World<'_>, inputs: &mut Vec<Input<u64>>) {
        let now = world.now;
        let due = |ends: i64| ends <= now;
        let probed: Vec<String> =
            self.probing.iter().filter(|(_, ends)| due(**ends)).map(|(id, _)| id.clone()).collect();
        for execution_id in probed {
            self.probing.remove(&execution_id);
            let result = match world.random.u32(0..if world.calm { 12 } else { 14 }) {
                0..=11 => Ok(world.random.u64(0..1 << 20)),
                12 => Err(Declined::Refused("not today".into())),
                _ => Err(Declined::Error(Error::plain("the probe broke"))),
            };
            inputs.push(Input::Probed { execution_id, result });
        }
        for execution_id in std::mem::take(&mut self.missing) {
            inputs.push(Input::Gone { execution_id });
        }
        for (execution_id, run) in &mut self.runs {
            if run.starts.is_none_or(|at| at > now.min(run.ends)) {
                continue;
            }
            if world.random.u32(0..4) == 0 {
                let (topic, text) = ("Preparing Environment", "Pulling image: 100%".to_owned());
                inputs.push(Input::Preparing { execution_id: execution_id.clone(), topic, text });
            }
            run.starts = None;
            world.truth.running.insert((execution_id.clone(), self.id.clone()));
            inputs.push(Input::Started { execution_id: execution_id.clone() });
        }
        let ended: Vec<(String, Run)> =
            self.runs.iter().filter(|(_, run)| due(run.ends)).map(|(id, run)| (id.clone(), *run)).collect();
        for (execution_id, run) in ended {
            if run.publishing > 0 {
                let published = Run { ends: now + run.publishing, publishing: 0, ..run };
                self.runs.insert(execution_id.clone(), published);
                self.complete.insert(execution_id.clone());
                inputs.push(Input::Publishing { execution_id });
                continue;
            }
            self.runs.remove(&execution_id);
            self.complete.remove(&execution_id);
            let result = if run.fails {
                let error = Error::plain("boom");
                Err(Failed { topic: "Running Execution".into(), error, run_output: None })
            } else {
                world.truth.completed.insert((execution_id.clone(), self.id.clone()));
                let run_output = RunCommandResult { exit_code: run.exit_code, ..RunCommandResult::default() };
                Ok(Finished { run_output, ..Finished::default() })
            };
            inputs.push(Input::Finished { execution_id, result });
        }
    }

    /// True when nothing runs that will end.
    pub(crate) fn is_idle(&self) -> bool {
        self.runs.values().all(|run| run.ends > FOR_EVER)
    }
}
