//! Follows a supervisor: hears how its task is doing, and tells it when the task is to stop.

use super::channel::Channel;
use super::plan::{Order, Report};
use super::{House, error};
use crate::egress::{DomainList, Names, Proxy};
use crate::engines::moments::{later, reached};
use crate::engines::{EngineError, EngineRequest};
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Time a supervisor has to bury what it killed. Only what hangs in the kernel takes longer.
pub(super) const BURIAL: Duration = Duration::from_secs(15);

/// How a task ended.
pub(super) struct Ended {
    /// Its exit code, if it had the time.
    pub(super) code: Option<i32>,
    /// The signal that ended it otherwise.
    pub(super) signal: Option<i32>,
}

/// Follows one supervisor's reports, and gives it orders when it is time.
pub(super) struct Watch<'a> {
    house: &'a House,
    request: &'a EngineRequest,
    deadline: Option<Instant>,
    /// Why the task is to stop, and when it is killed.
    stopping: Option<(EngineError, Instant)>,
    killed: bool,
    proxy: Option<Proxy>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(house: &'a House, request: &'a EngineRequest) -> Watch<'a> {
        Watch { house, request, deadline: None, stopping: None, killed: false, proxy: None }
    }

    /// Goes with the supervisor to its task's end. `domains` are for its proxy, if it is to have one.
    pub(super) async fn follow(
        mut self,
        channel: &mut Channel,
        mut domains: Option<DomainList>,
    ) -> Result<Ended, EngineError> {
        loop {
            let next = tokio::select! {
                biased;
                report = channel.report() => Next::Report(report),
                () = self.request.cancel.cancelled(), if self.stopping.is_none() => Next::Stop(EngineError::Cancelled),
                () = reached(self.deadline), if self.stopping.is_none() => Next::Stop(EngineError::TimedOut),
                () = reached(self.kill_time()), if !self.killed => Next::Kill,
                () = reached(self.kill_time().and_then(|at| at.checked_add(BURIAL))), if self.killed => Next::GiveUp,
            };
            match next {
                Next::Stop(reason) => {
                    channel.order(Order::Terminate).await;
                    self.stopping = Some((reason, later(self.house.config.grace)));
                }
                Next::Kill => {
                    self.killed = true;
                    channel.order(Order::Kill).await;
                }
                Next::GiveUp => {
                    channel.kill();
                    return self.end(Err(broken_off("does not end")));
                }
                Next::Report(Ok(Report::Listening)) => {
                    let (Some(domains), Ok(listener)) = (domains.take(), channel.take_listener()) else {
                        continue;
                    };
                    let names = Names {
                        job_id: self.request.execution.job_id.clone(),
                        execution_id: self.request.execution.id.clone(),
                    };
                    match Proxy::serve(listener, domains, names) {
                        Ok(proxy) => self.proxy = Some(proxy),
                        Err(e) => return self.end(Err(broken_off(&format!("cannot be given a proxy: {e}")))),
                    }
                }
                Next::Report(Ok(Report::Started)) => {
                    self.deadline = self.request.timeout.map(later);
                    self.request.progress.started();
                }
                Next::Report(Ok(Report::NotStarted(why))) => {
                    return self.end(Err(EngineError::not_started(error(why))));
                }
                Next::Report(Ok(Report::Ended { code, signal })) => {
                    return self.end(Ok(Ended { code, signal }));
                }
                Next::Report(Ok(Report::Able { .. })) => {}
                Next::Report(Err(e)) => {
                    return self.end(Err(broken_off(&format!("lost its supervisor: {e}"))));
                }
            }
        }
    }

    fn kill_time(&self) -> Option<Instant> {
        self.stopping.as_ref().map(|(_, at)| *at)
    }

    /// What was asked for comes first: a task that is stopped ends one way or another.
    fn end(self, outcome: Result<Ended, EngineError>) -> Result<Ended, EngineError> {
        self.stopping.map_or(outcome, |(reason, _)| Err(reason))
    }
}

/// What comes next for a task.
enum Next {
    Report(io::Result<Report>),
    Stop(EngineError),
    Kill,
    GiveUp,
}

fn broken_off(why: &str) -> EngineError {
    EngineError::Failed {
        exit_code: None,
        error: error(format!("the process {why}")).fails_execution().retryable(),
    }
}
