//! One task from its start to the end of everything it made.

use super::channel::Channel;
use super::notes::Note;
use super::plan::{Network, Order, Plan, Report, Request};
use super::{COMPONENT, House, blocking, error, output, prepare};
use crate::cgroup::Limits;
use crate::egress::{DomainList, Names, Proxy};
use crate::engines::{EngineError, EngineRequest};
use crate::logs::LogStream;
use bacalhau_model::{Error, error::code};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Time a supervisor has to bury what it killed. Only what hangs in the kernel takes longer.
const BURIAL: Duration = Duration::from_secs(15);

/// Time for what the task printed last, once nobody can print any more. A process elsewhere may have been given a pipe.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Exit code of a process that a signal ended, as shells tell it: 128 and its number.
const SIGNAL_BASE: i32 = 128;

/// Number of SIGKILL, with which the kernel ends what uses too much memory.
const SIGKILL: i32 = 9;

/// Runs a task.
pub(super) async fn run(house: Arc<House>, request: EngineRequest) -> Result<i64, EngineError> {
    if request.adopt {
        return Err(EngineError::Gone);
    }
    let not_started = EngineError::not_started;
    let abilities = house.abilities().await.map_err(not_started)?.clone();
    let domains = DomainList::new(&request.network.domains).map_err(not_started)?;
    let request = Arc::new(request);
    let prepared = {
        let (house, request) = (Arc::clone(&house), Arc::clone(&request));
        blocking(move || {
            let shared =
                prepare::House { programs: &house.programs, user: house.user, abilities: &abilities };
            let plan = prepare::plan(&shared, &request)?;
            Ok::<_, Error>((plan, note(&house, &request)?))
        })
    };
    let (mut plan, note) = prepared.await.flatten().map_err(not_started)?;
    plan.cgroup.clone_from(&note.cgroup);
    if request.cancel.is_cancelled() {
        settle(note).await;
        return Err(EngineError::Cancelled);
    }
    let is_own_user = plan.user_namespace;
    let outcome = supervised(&house, &request, plan, domains).await;
    if is_own_user {
        let work = Arc::clone(&request.work);
        // A panic in there has been logged; what cannot be removed is told.
        let _ = tokio::task::spawn_blocking(move || prepare::reopen(work.path())).await;
    }
    let oom_kills = note.cgroup.as_ref().map_or(0, |cgroup| cgroup.usage().oom_kills);
    settle(note).await;
    match outcome? {
        Ended { code: Some(code), .. } if !(oom_kills > 0 && code == SIGNAL_BASE + SIGKILL) => {
            Ok(i64::from(code))
        }
        Ended { signal, .. } if oom_kills > 0 && signal.is_none_or(|signal| signal == SIGKILL) => {
            Err(out_of_memory(&request))
        }
        Ended { signal: Some(signal), .. } => Ok(i64::from(SIGNAL_BASE + signal)),
        Ended { .. } => Err(EngineError::Failed {
            exit_code: None,
            error: error("how the process ended is not known").fails_execution(),
        }),
    }
}

/// How a task ended.
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
}

fn out_of_memory(request: &EngineRequest) -> EngineError {
    let limit = request.resources.memory;
    let error = error(format!("memory limit exceeded: the process needed more than {limit} bytes"))
        .hint("Ask for more memory in the task's Resources, or have the program use less")
        .fails_execution();
    EngineError::Failed { exit_code: Some(i64::from(SIGNAL_BASE + SIGKILL)), error }
}

/// Makes the task's group and the note about it. Blocks.
fn note(house: &House, request: &EngineRequest) -> Result<Note, Error> {
    let id = &request.execution.id;
    let limits =
        Limits { cpu: request.resources.cpu, memory: request.resources.memory, pids: house.config.pids };
    let explain = |what: &str, e: io::Error| {
        Error::new(code::INTERNAL_ERROR, format!("{what}: {e}")).component(COMPONENT).retryable()
    };
    let cgroups = house.cgroups();
    // First the note, then what it is about.
    let note = house
        .notes
        .write(id, cgroups.map(|c| c.group(id)))
        .map_err(|e| explain("cannot note a process", e))?;
    cgroups
        .map_or(Ok(()), |c| c.create(id, &limits).map(|_| ()))
        .map_err(|e| explain("cannot limit a process", e))?;
    Ok(note)
}

async fn settle(note: Note) {
    // A panic in there has been logged; the next start tries again.
    let _ = tokio::task::spawn_blocking(move || note.settle()).await;
}

/// Starts a supervisor and goes with it to its end.
async fn supervised(
    house: &House,
    request: &EngineRequest,
    plan: Plan,
    domains: DomainList,
) -> Result<Ended, EngineError> {
    let broken = |e: io::Error| {
        let error =
            Error::new(code::INTERNAL_ERROR, format!("the supervisor of the process broke down: {e}"));
        EngineError::not_started(error.component(COMPONENT).retryable())
    };
    let has_proxy = plan.network == Network::Proxy;
    let cgroup = plan.cgroup.clone();
    let (mut channel, printed) =
        Channel::open(&house.config.supervisor, &Request::Run(Box::new(plan))).await.map_err(broken)?;
    let copies = [
        output::copy(printed.stdout, request.log.clone(), LogStream::Stdout),
        output::copy(printed.stderr, request.log.clone(), LogStream::Stderr),
    ];
    let outcome = Watch::new(house, request).follow(&mut channel, has_proxy.then_some(domains)).await;
    if timeout(BURIAL, channel.ended()).await.is_err() {
        tracing::warn!(execution = %request.execution.id, "a supervisor does not end; its processes are killed with their cgroup");
    }
    if let (Err(_), Some(cgroup)) = (&outcome, cgroup) {
        // Without its supervisor the task may still be there. What is left of it is told when the group is removed.
        let _ = tokio::task::spawn_blocking(move || cgroup.kill()).await;
    }
    for mut copy in copies {
        if timeout(LAST_WORDS, &mut copy).await.is_err() {
            copy.abort();
        }
    }
    outcome
}

/// Follows one supervisor's reports, and gives it orders when it is time.
struct Watch<'a> {
    house: &'a House,
    request: &'a EngineRequest,
    deadline: Option<Instant>,
    /// Why the task is to stop, and when it is killed.
    stopping: Option<(EngineError, Instant)>,
    killed: bool,
    proxy: Option<Proxy>,
}

impl<'a> Watch<'a> {
    fn new(house: &'a House, request: &'a EngineRequest) -> Watch<'a> {
        Watch { house, request, deadline: None, stopping: None, killed: false, proxy: None }
    }

    async fn follow(
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
                    channel.kill().await;
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

/// A time from now; one that no clock can hold never comes.
fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)))
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
