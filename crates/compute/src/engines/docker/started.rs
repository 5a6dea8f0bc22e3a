//! A container that runs: its output, its end, and how that is told.

use super::daemon::Connected;
use super::output::Output;
use super::patience::{RETURN_LIMIT, RETURN_PAUSE};
use super::{Parts, ending, errors, usage};
use crate::engines::{EngineError, EngineRequest};
use crate::logs::LogWriter;
use bacalhau_model::{Error, Time};
use bollard::errors::Error as DockerError;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, LogsOptionsBuilder, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Longest time output may follow the end of the container.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// Longest time the daemon may take to stop a container, beyond the grace period.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A container that was started, by this life of the node or a former one.
pub(super) struct Started {
    daemon: Arc<Connected>,
    id: String,
    /// Since when its time counts.
    since: Instant,
    /// The task that copies its output, and gives the way into the log back.
    output: AbortOnDropHandle<Output>,
    /// Its output comes from Docker's log.
    replays: bool,
}

/// How waiting ended.
enum Waited {
    Exited(i64),
    /// Not yet, and Docker has to be asked again.
    NotYet,
    /// The connection broke.
    Lost(String),
    Broken(Error),
}

impl Started {
    /// Attaches to a container and starts it.
    pub(super) async fn start(daemon: Arc<Connected>, id: String, log: LogWriter) -> Result<Started, Error> {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let attached = daemon.docker.attach_container(&id, Some(options)).await;
        let attached = attached.map_err(|e| errors::explain("attaching to the container", &e))?;
        let mut output = Output::new(log);
        let output = spawn(async move {
            let bollard::container::AttachContainerResults { output: stream, input } = attached;
            if let Err(error) = output.attached(stream).await {
                tracing::debug!(%error, "the output of a container broke off");
            }
            drop(input);
            output
        });
        if let Err(error) = daemon.docker.start_container(&id, None).await {
            return Err(ending::start_failed(&error));
        }
        Ok(Started { daemon, id, since: Instant::now(), output, replays: false })
    }

    /// Goes on with a container. `None` when it was never started, is not there any more, or was ended with its daemon.
    pub(super) async fn adopt(
        daemon: Arc<Connected>,
        id: String,
        log: LogWriter,
        docker_keeps: u64,
    ) -> Result<Option<Started>, Error> {
        let found = match daemon.docker.inspect_container(&id, None).await {
            Ok(found) => found,
            Err(error) if errors::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(errors::explain("looking at the container to go on with", &error)),
        };
        let state = found.state.unwrap_or_default();
        let begun = state.started_at.as_ref().and_then(|text| Time::parse(text).ok());
        if begun.is_none_or(|time| time.unix_nanos() <= 0)
            || ending::ended_with_its_daemon(&daemon, &id, &state).await
        {
            return Ok(None);
        }
        let output = Output::continued(log, docker_keeps).await;
        let output = spawn(follow(Arc::clone(&daemon), id.clone(), output));
        Ok(Some(Started { daemon, id, since: Instant::now(), output, replays: true }))
    }

    /// Waits for the end, or brings it about.
    pub(super) async fn finish(mut self, parts: &Parts, request: &EngineRequest) -> Result<i64, EngineError> {
        let stop = &request.cancel;
        let _counting = request
            .work
            .is_elsewhere_counted()
            .then(|| usage::count(Arc::clone(&self.daemon), self.id.clone(), Arc::clone(&request.work)));
        let deadline = request.timeout.and_then(|timeout| self.since.checked_add(timeout));
        let exit_code = loop {
            let waited = tokio::select! {
                biased;
                waited = wait(&self.daemon, &self.id) => waited,
                () = stop.cancelled() => return Err(self.stopped(parts, EngineError::Cancelled).await),
                () = until(deadline) => return Err(self.stopped(parts, EngineError::TimedOut).await),
            };
            match waited {
                Waited::Exited(code) => break code,
                Waited::NotYet => {}
                Waited::Broken(error) => {
                    return Err(EngineError::Failed { exit_code: None, error: error.fails_execution() });
                }
                Waited::Lost(why) => tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(EngineError::Cancelled),
                    () = until(deadline) => return Err(EngineError::TimedOut),
                    found = self.find_again(parts, &why) => {
                        found.map_err(|error| EngineError::Failed { exit_code: None, error })?;
                    }
                },
            }
        };
        let limited = request.resources.memory > 0;
        let ((), out_of_memory) = tokio::join!(
            collect(&self.daemon, &self.id, self.output, self.replays),
            ending::was_out_of_memory(&self.daemon, &self.id, exit_code, limited)
        );
        if out_of_memory.map_err(|error| EngineError::Failed { exit_code: Some(exit_code), error })? {
            return Err(EngineError::Failed { exit_code: Some(exit_code), error: ending::out_of_memory() });
        }
        Ok(exit_code)
    }

    /// Ends the container: SIGTERM, and SIGKILL after the grace period.
    async fn stopped(self, parts: &Parts, reason: EngineError) -> EngineError {
        let grace = parts.config.stop_grace;
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options =
            StopContainerOptionsBuilder::new().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
        let stopping = self.daemon.docker.stop_container(&self.id, Some(options));
        match tokio::time::timeout(grace.saturating_add(STOP_LIMIT), stopping).await {
            Ok(Ok(())) => collect(&self.daemon, &self.id, self.output, self.replays).await,
            // Its removal ends it as well.
            other => {
                tracing::debug!(container = self.id, ?other, "a container could not be stopped");
            }
        }
        reason
    }

    /// After the connection broke: the container may go on without its daemon, if that is set up so.
    async fn find_again(&mut self, parts: &Parts, why: &str) -> Result<(), Error> {
        let gone = |why: &str| {
            errors::unreachable("the Docker daemon went away while the container ran", why).fails_execution()
        };
        if !self.daemon.live_restore {
            // What has arrived is logged.
            let _ = tokio::time::timeout(OUTPUT_LIMIT, &mut self.output).await;
            return Err(gone(why));
        }
        let give_up = Instant::now() + RETURN_LIMIT;
        let daemon = loop {
            match parts.daemon.get_anew().await {
                Ok(daemon) => break daemon,
                Err(error) if Instant::now() >= give_up => return Err(gone(&error.message)),
                Err(_) => tokio::time::sleep(RETURN_PAUSE).await,
            }
        };
        self.daemon = Arc::clone(&daemon);
        // The old way ends with its connection.
        let output = tokio::time::timeout(OUTPUT_LIMIT, &mut self.output).await;
        let output = output.ok().and_then(Result::ok).ok_or_else(|| gone("its output is lost"))?;
        self.output = spawn(follow(daemon, self.id.clone(), output));
        self.replays = true;
        Ok(())
    }
}

/// A task that ends when nobody wants its result any more.
fn spawn(work: impl Future<Output = Output> + Send + 'static) -> AbortOnDropHandle<Output> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn wait(daemon: &Connected, id: &str) -> Waited {
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    let mut answers = Box::pin(daemon.docker.wait_container(id, Some(options)));
    match answers.next().await {
        Some(Ok(answer)) => Waited::Exited(answer.status_code),
        Some(Err(DockerError::DockerContainerWaitError { code, .. })) => Waited::Exited(code),
        Some(Err(error)) if errors::is_not_found(&error) => Waited::Broken(ending::removed()),
        Some(Err(
            error @ (DockerError::DockerResponseServerError { .. } | DockerError::JsonDataError { .. }),
        )) => Waited::Broken(errors::explain("waiting for the container", &error)),
        Some(Err(DockerError::RequestTimeoutError)) => Waited::NotYet,
        Some(Err(error)) => Waited::Lost(errors::chain(&error)),
        None => Waited::Lost("it closed the connection".to_owned()),
    }
}

/// Waits for the last of the output.
async fn collect(daemon: &Arc<Connected>, id: &str, mut output: AbortOnDropHandle<Output>, replays: bool) {
    let Ok(collected) = tokio::time::timeout(OUTPUT_LIMIT, &mut output).await else {
        tracing::warn!(container = id, "the output of a container does not end; what follows is not logged");
        return;
    };
    if let (true, Ok(output)) = (replays, collected) {
        // Following a log may end before its last lines; reading it once more finds them.
        replay(daemon, id, output, false).await;
    }
}

async fn follow(daemon: Arc<Connected>, id: String, output: Output) -> Output {
    replay(&daemon, &id, output, true).await
}

/// Logs what is new in Docker's own log.
async fn replay(daemon: &Connected, id: &str, mut output: Output, follow: bool) -> Output {
    let options = LogsOptionsBuilder::new().follow(follow).stdout(true).stderr(true).timestamps(true).build();
    loop {
        match output.replayed(daemon.docker.logs(id, Some(options.clone()))).await {
            // A container that printed nothing for long.
            Err(DockerError::RequestTimeoutError) if follow => {}
            Err(error) => {
                tracing::debug!(container = id, %error, "the log of a container broke off");
                return output;
            }
            Ok(()) => return output,
        }
    }
}
