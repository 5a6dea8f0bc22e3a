//! One task from its start to the end of everything it made.

use super::channel::Channel;
use super::notes::Note;
use super::plan::{Network, Plan, Request};
use super::watch::{BURIAL, Ended, Watch};
use super::{COMPONENT, House, blocking, error, output, prepare};
use crate::cgroup::Limits;
use crate::egress::DomainList;
use crate::engines::{EngineError, EngineRequest};
use crate::logs::LogStream;
use bacalhau_model::{Error, error::code};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

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
    let (mut plan, mut note) = prepared.await.flatten().map_err(not_started)?;
    plan.cgroup.clone_from(&note.cgroup);
    if request.cancel.is_cancelled() {
        settle(note).await;
        return Err(EngineError::Cancelled);
    }
    let is_own_user = plan.user_namespace;
    // Whoever drops this future does not wait for the task's end: its folder goes after that.
    note.work = Some(Arc::clone(&request.work));
    let outcome = supervised(&house, &request, plan, domains, &mut note).await;
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
    note: &mut Note,
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
    note.supervisor = channel.supervisor();
    let copies = [
        output::copy(printed.stdout, request.log.clone(), LogStream::Stdout),
        output::copy(printed.stderr, request.log.clone(), LogStream::Stderr),
    ];
    let outcome = Watch::new(house, request).follow(&mut channel, has_proxy.then_some(domains)).await;
    if timeout(BURIAL, channel.ended()).await.is_ok() {
        note.supervisor = None;
    } else {
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
