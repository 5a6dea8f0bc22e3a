//! The task of one execution: what its engine is given, and what is done when it must not go on.

use super::super::disk::{self, DiskLimit};
use super::super::ports::{self, PortLease};
use super::super::{Failure, Finished, Phase, env, results};
use super::outcome::{cannot_publish, engine_broke_off, engine_failure, ran_before, run_output, time_limit};
use super::{Ending, Run};
use crate::core::Start;
use crate::engines::{Engine, EngineError, EngineRequest, Progress, Step};
use crate::logs::LogWriter;
use crate::metrics::Stage;
use bacalhau_model::event::topic;
use bacalhau_model::{Error, NetworkConfig, SpecConfig, Task};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is there before an engine begins.
struct Prepared {
    request: EngineRequest,
    /// The execution's own until this goes.
    ports: PortLease,
    disk_limit: Option<DiskLimit>,
    /// Of the execution as a whole.
    timeout: Option<Duration>,
    /// Why a task that runs already has to be ended by its engine.
    trouble: Option<Failure>,
}

impl Run<'_> {
    /// From the inputs to the end of the task, and to results that are complete on the disk.
    pub(super) async fn work_out(
        &self,
        task: &Task,
        engine: &dyn Engine,
        publishes: bool,
        log: &LogWriter,
    ) -> Result<Finished, Ending> {
        let Prepared { request, ports, disk_limit, timeout, trouble } =
            self.prepare(task, engine, log).await?;
        let outcome = self.within(disk_limit, self.engine(engine, request)).await;
        drop(ports);
        let captured = log.finish();
        let outcome = outcome.map_err(|ending| match ending {
            Ending::Failed(failure) => engine_broke_off(failure, &captured).into(),
            other => other,
        })?;
        self.work.remove_inputs().await;
        if let Some(failure) = trouble {
            return Err(failure.into());
        }
        let exit_code = match outcome {
            Ok(exit_code) => exit_code,
            Err(EngineError::Gone) => return Err(Ending::Gone),
            Err(error) => return Err(engine_failure(error, timeout, &captured).into()),
        };
        let run_output = run_output(&captured, exit_code);
        if let Some(limit) = disk_limit {
            let checked = limit.check_results(self.work, results::folder(self.work)).await;
            checked.map_err(|error| {
                Failure::new(topic::RUNNING_EXECUTION, error).with_output(run_output.clone())
            })?;
        }
        if publishes {
            (self.context.phase)(Phase::Publishing);
            results::complete(self.work, captured, &run_output)
                .await
                .map_err(|error| cannot_publish(error, &run_output))?;
        }
        Ok(Finished { run_output, published_result: SpecConfig::default() })
    }

    /// Fetches inputs, takes ports, makes folders. What is adopted has its inputs and its environment already.
    async fn prepare(&self, task: &Task, engine: &dyn Engine, log: &LogWriter) -> Result<Prepared, Ending> {
        let adopt = self.resume.start == Start::Adopt;
        let network = self.executor.network(task);
        let (mut env, mounts) = if adopt {
            (Vec::new(), Vec::new())
        } else {
            let env = self.executor.inner.env_allowed.resolve(self.execution, task);
            (env.map_err(preparing)?, self.fetch(task).await?)
        };
        let ports = self.ports(&network, engine, adopt).await?;
        env::add_ports(&mut env, ports.ports());
        let (results, trouble) = match results::create(&task.result_paths, self.work).map_err(preparing) {
            Ok(results) => (results, None),
            // Its task runs: the engine has to end it.
            Err(failure) if adopt => {
                self.context.cancel.cancel();
                (Vec::new(), Some(failure))
            }
            Err(failure) => return Err(failure.into()),
        };
        let disk_limit = match disk::limit(task, self.executor.inner.config.disk_limit) {
            Some(limit) => Some(DiskLimit::new(limit, self.work, &mounts, adopt).await),
            None => None,
        };
        let timeout = time_limit(self.execution, task);
        let request = EngineRequest {
            execution: Arc::clone(self.execution),
            engine: task.engine.clone(),
            mounts,
            results,
            env,
            resources: self.execution.allocated_resources.total(),
            network,
            ports: ports.ports().to_vec(),
            timeout: timeout.map(|limit| limit.saturating_sub(ran_before(self.execution, adopt))),
            adopt,
            progress: self.progress(),
            log: log.clone(),
            cancel: self.context.cancel.clone(),
            work: Arc::clone(self.work),
        };
        Ok(Prepared { request, ports, disk_limit, timeout, trouble })
    }

    /// Passes on what the engine says, and measures it.
    fn progress(&self) -> Progress {
        let (phase, metrics) = (Arc::clone(&self.context.phase), Arc::clone(self.executor.metrics()));
        let began = Instant::now();
        Progress::new(move |step| match step {
            Step::Started => {
                metrics.took(Stage::Prepare, began.elapsed());
                phase(Phase::Running);
            }
            Step::Preparing(what) => phase(Phase::Preparing(what)),
        })
    }

    /// The ports that are the execution's own until the lease is dropped.
    async fn ports(
        &self,
        network: &NetworkConfig,
        engine: &dyn Engine,
        adopt: bool,
    ) -> Result<PortLease, Ending> {
        let id = &self.execution.id;
        if adopt {
            return Ok(self.executor.adopted_ports(id));
        }
        let lease = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => {
                return Err(Failure::cancelled(topic::PREPARING_ENVIRONMENT).into());
            }
            () = self.resume.leave.cancelled() => return Err(Ending::Left),
            lease = self.executor.inner.ports.allocate(id, network) => lease,
        };
        let lease = lease.map_err(preparing)?;
        if engine.outlives_the_node() {
            ports::note(self.work, &lease).await.map_err(preparing)?;
        }
        Ok(lease)
    }

    /// Ends the task when it has written more than it may.
    async fn within<T>(
        &self,
        disk_limit: Option<DiskLimit>,
        engine: impl Future<Output = Result<T, Ending>>,
    ) -> Result<T, Ending> {
        let Some(limit) = disk_limit else { return engine.await };
        let mut engine = std::pin::pin!(engine);
        let error = tokio::select! {
            biased;
            outcome = &mut engine => return outcome,
            error = limit.exceeded(self.work) => error,
        };
        self.context.cancel.cancel();
        // How it ends does not matter any more; that it has ended does.
        match engine.await {
            Err(Ending::Left) => Err(Ending::Left),
            Ok(_) | Err(_) => Err(Failure::new(topic::RUNNING_EXECUTION, error).into()),
        }
    }

    /// The engine's part. When the node stops, tasks that outlive it are left alone and others end.
    async fn engine(
        &self,
        engine: &dyn Engine,
        request: EngineRequest,
    ) -> Result<Result<i64, EngineError>, Ending> {
        let began = Instant::now();
        let mut running = engine.run(request);
        let outcome = tokio::select! {
            biased;
            outcome = &mut running => outcome,
            () = self.resume.leave.cancelled() => {
                if engine.outlives_the_node() {
                    self.work.keep();
                    return Err(Ending::Left);
                }
                self.context.cancel.cancel();
                running.await
            }
        };
        self.executor.metrics().took(Stage::Run, began.elapsed());
        Ok(outcome)
    }
}

fn preparing(error: Error) -> Failure {
    Failure::new(topic::PREPARING_ENVIRONMENT, error)
}
