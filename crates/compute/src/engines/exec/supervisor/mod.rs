//! The process between the node and a task: `bacalhau __exec-supervisor`, started by the node and by nobody else.
//!
//! It puts together what the task sees, starts it, collects everything the task leaves behind, and kills all of it
//! when the task ends, when the node says so, and when the node is gone. It is a process of its own because only a
//! process can adopt daemons that a task makes, change its namespaces without changing the node's, and outlive the
//! node by the moment that is needed to clean up. It knows nothing of jobs and must never need the node to end.

mod confine;
mod mounts;
mod netlink;
mod network;
mod sweep;
mod talk;

use super::plan::{Order, Plan, Report, Request};
use crate::cgroup::Cgroup;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use talk::Talk;

/// Hidden first argument of the program that makes it a supervisor.
pub const ARGUMENT: &str = "__exec-supervisor";

/// Runs a supervisor on standard input, which has to be a socket.
pub fn supervise() -> ExitCode {
    let Ok(talk) = Talk::on_stdin() else { return ExitCode::FAILURE };
    let talk = Arc::new(talk);
    match talk.request() {
        Ok(Request::Probe { user_namespace }) => {
            let report = confine::probe(user_namespace);
            // Nobody is there to tell if this fails.
            let _ = talk.tell(&report);
            ExitCode::SUCCESS
        }
        Ok(Request::Run(plan)) => {
            run(&talk, *plan);
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(talk: &Arc<Talk>, mut plan: Plan) {
    let cgroup = plan.cgroup.take();
    let report = match start(talk, plan, cgroup.as_ref()) {
        Err(why) => Report::NotStarted(why),
        Ok(main) => {
            // Nobody is there any more: the orders' end says so as well, and kills.
            let _ = talk.tell(&Report::Started);
            obey(talk, cgroup.clone());
            let status = collect(main);
            Report::Ended {
                code: status.and_then(WaitStatus::exit_status),
                signal: status.and_then(WaitStatus::terminating_signal),
            }
        }
    };
    sweep::all(cgroup.as_ref());
    if talk.tell(&report).is_err()
        && let Some(cgroup) = cgroup
    {
        // The node is gone: nobody else would remove it before its next life.
        let _ = cgroup.remove();
    }
}

/// Makes the task's surroundings and starts it.
fn start(talk: &Talk, mut plan: Plan, cgroup: Option<&Cgroup>) -> Result<Pid, String> {
    confine::own_session()?;
    confine::enter(&mut plan, talk)?;
    if !plan.folder.is_dir() {
        return Err(format!("the working directory {} is not there", plan.folder.display()));
    }
    let mut command = Command::new(&plan.program);
    command.arg0(&plan.name).args(&plan.arguments).current_dir(&plan.folder);
    command.env_clear().envs(plan.env.drain(..)).stdin(Stdio::null()).process_group(0);
    if let Some((user, group)) = plan.user {
        command.gid(group).uid(user);
    }
    // The task is born in its group, and this process leaves again: it must outlive what is killed there.
    let home = cgroup.map(Cgroup::current).transpose().map_err(|e| format!("cannot read cgroups: {e}"))?;
    let explain = |e: io::Error| format!("cannot enter the task's cgroup: {e}");
    cgroup.map_or(Ok(()), Cgroup::join).map_err(explain)?;
    let spawned = command.spawn();
    home.as_ref().map_or(Ok(()), Cgroup::join).map_err(explain)?;
    let child = spawned.map_err(|e| format!("cannot start {}: {e}", plan.program.display()))?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "the task has no number".to_owned())
}

/// Follows the node's orders on a thread of its own until the task's end.
fn obey(talk: &Arc<Talk>, cgroup: Option<Cgroup>) {
    let talk = Arc::clone(talk);
    let listening = std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        while let Ok(Order::Terminate) = talk.order() {
            sweep::signal(Signal::TERM);
        }
        sweep::kill(cgroup.as_ref());
    });
    if listening.is_err() {
        // Without it nobody could stop the task.
        sweep::signal(Signal::KILL);
    }
}

/// Waits for the task, and buries what it orphaned meanwhile.
fn collect(main: Pid) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main && (status.exited() || status.signaled()) => {
                return Some(status);
            }
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(_) => return None,
        }
    }
}
