//! Goes with a container to its end: logs what it prints, stops it when it is time to, and says how it ended.

use super::container::Container;
use super::{end, error};
use crate::engines::moments::{later, reached};
use crate::engines::supervisor::client::{News, Supervisor};
use crate::engines::supervisor::output::Output;
use crate::engines::supervisor::{End, Order};
use crate::engines::{EngineError, EngineRequest};
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

/// Longest time from the runtime's start to the container's.
const START_TIME: Duration = Duration::from_secs(60);

/// Time a supervisor has to bury what it killed. Only what hangs in the kernel takes longer.
const BURIAL: Duration = Duration::from_secs(15);

/// A look into the spool.
type Pass = JoinHandle<(Output, io::Result<bool>)>;

struct Follow<'a> {
    supervisor: Supervisor,
    /// While it is not under way, and works.
    output: Option<Output>,
    pass: Option<Pass>,
    /// There is something to log.
    more: bool,
    request: &'a EngineRequest,
    grace: Duration,
    deadline: Option<Instant>,
    start_limit: Option<Instant>,
    /// Why it is to stop, and when it is killed.
    stopping: Option<(EngineError, Instant)>,
    killed: bool,
}

/// What comes next.
enum Next {
    News(News),
    Logged(Result<(Output, io::Result<bool>), JoinError>),
    Stop(EngineError),
    Kill,
    GiveUp,
}

impl Container {
    /// Goes with it to its end, and removes it then. Dropped, it leaves it as it is.
    pub(super) async fn follow(
        self,
        supervisor: Supervisor,
        output: Option<Output>,
        request: &EngineRequest,
    ) -> Result<i64, EngineError> {
        let follow = Follow {
            supervisor,
            // What a former life did not log.
            more: request.adopt && output.is_some(),
            output,
            pass: None,
            request,
            grace: self.shared.config.grace,
            deadline: None,
            start_limit: Some(Instant::now() + START_TIME),
            stopping: None,
            killed: false,
        };
        let (supervisor, output, stopped) = follow.run().await;
        self.bury(Some(supervisor), output, stopped, request).await
    }

    /// Logs the rest, removes everything, and says how it ended.
    pub(super) async fn bury(
        self,
        supervisor: Option<Supervisor>,
        output: Option<Output>,
        stopped: Option<EngineError>,
        request: &EngineRequest,
    ) -> Result<i64, EngineError> {
        let folder = self.shared.kept(&self.id);
        let id = self.id.clone();
        let rest = tokio::task::spawn_blocking(move || {
            log_the_rest(output, &id);
            End::read(&folder)
        });
        let end = rest.await.ok().flatten();
        if supervisor.is_none() && matches!(end, Some(End::Ended { .. })) {
            request.progress.started();
        }
        let out_of_memory = request.resources.memory > 0 && self.killed_for_memory().await;
        let words = self.last_words();
        self.remove(supervisor).await;
        match stopped {
            Some(reason) => Err(reason),
            None => end::outcome(end, out_of_memory.then_some(request.resources.memory), words),
        }
    }
}

fn log_the_rest(output: Option<Output>, id: &str) {
    let Some(mut output) = output else { return };
    loop {
        match output.log_some() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(container = %id, %error, "the last output of a container cannot be logged");
                return;
            }
        }
    }
}

impl Follow<'_> {
    /// Gives why it was stopped, if it was.
    async fn run(mut self) -> (Supervisor, Option<Output>, Option<EngineError>) {
        loop {
            self.look();
            let kill_at = self.stopping.as_ref().map(|(_, at)| *at);
            let next = tokio::select! {
                biased;
                logged = done(&mut self.pass) => Next::Logged(logged),
                news = self.supervisor.news() => Next::News(news),
                () = self.request.cancel.cancelled(), if self.stopping.is_none() => Next::Stop(EngineError::Cancelled),
                () = reached(self.deadline), if self.stopping.is_none() => Next::Stop(EngineError::TimedOut),
                () = reached(self.start_limit), if self.stopping.is_none() => Next::Stop(does_not_start()),
                () = reached(kill_at), if !self.killed => Next::Kill,
                () = reached(kill_at.and_then(|at| at.checked_add(BURIAL))), if self.killed => Next::GiveUp,
            };
            match next {
                Next::Logged(logged) => self.logged(logged).await,
                Next::News(News::Output) => self.more = true,
                Next::News(News::Started) => {
                    self.start_limit = None;
                    self.deadline = self.request.timeout.map(later);
                    self.request.progress.started();
                }
                Next::News(News::Gone) | Next::GiveUp => break,
                Next::Stop(reason) => {
                    self.supervisor.order(Order::Terminate).await;
                    self.stopping = Some((reason, later(self.grace)));
                }
                Next::Kill => {
                    self.killed = true;
                    self.supervisor.order(Order::Kill).await;
                }
            }
        }
        if let Some(pass) = self.pass.take() {
            self.output = pass.await.ok().map(|(output, _)| output);
        }
        (self.supervisor, self.output, self.stopping.map(|(reason, _)| reason))
    }

    /// Begins to log what there is, if nobody is at it.
    fn look(&mut self) {
        if self.pass.is_some() || !self.more {
            return;
        }
        if let Some(mut output) = self.output.take() {
            self.more = false;
            self.pass = Some(tokio::task::spawn_blocking(move || {
                let more = output.log_some();
                (output, more)
            }));
        }
    }

    async fn logged(&mut self, logged: Result<(Output, io::Result<bool>), JoinError>) {
        self.pass = None;
        let failed = match logged {
            Ok((output, Ok(more))) => {
                self.supervisor.order(Order::Logged(output.position())).await;
                self.more |= more;
                self.output = Some(output);
                return;
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(execution = %self.request.execution.id, error = %failed, "what a container prints cannot be logged any more");
        // It goes on without its log.
        self.supervisor.order(Order::Logged(u64::MAX)).await;
    }
}

fn does_not_start() -> EngineError {
    EngineError::not_started(error("the runtime does not start the container").retryable())
}

async fn done(pass: &mut Option<Pass>) -> Result<(Output, io::Result<bool>), JoinError> {
    match pass {
        Some(pass) => pass.await,
        None => pending().await,
    }
}
