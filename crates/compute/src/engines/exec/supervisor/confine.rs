//! A task's surroundings: session, namespaces, rights.

use super::super::plan::{Network, Plan, Report};
use super::talk::Talk;
use super::{mounts, network};
use rustix::fs::Mode;
use rustix::process::{getegid, geteuid, set_child_subreaper, setsid, umask};
use rustix::thread::{CapabilitySet, UnshareFlags, remove_capability_from_bounding_set, set_no_new_privs};
use std::fs;
use std::io;

/// Rights with which root could leave a network that it is not to leave: entering other namespaces, through another
/// process or the kernel, or changing its own network.
const WAYS_OUT: [CapabilitySet; 7] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::NET_ADMIN,
    CapabilitySet::BPF,
];

/// A session without a terminal, in which orphans come to this process.
pub(super) fn own_session() -> Result<(), String> {
    // Fails for the leader of a session, which is as good.
    let _ = setsid();
    umask(Mode::from_raw_mode(0o022));
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| format!("cannot adopt orphans: {e}"))
}

/// Enters the namespaces of a plan and gives up what the task must not have. Completes the plan's environment.
pub(super) fn enter(plan: &mut Plan, talk: &Talk) -> Result<(), String> {
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNS, plan.view.is_some());
    flags.set(UnshareFlags::NEWNET, plan.network != Network::Host);
    unshare(flags, plan.user_namespace).map_err(|e| format!("cannot make namespaces: {e}"))?;
    if plan.network != Network::Host {
        network::up().map_err(|e| format!("cannot set up the network: {e}"))?;
        for capability in WAYS_OUT {
            // Kernels that do not know one cannot grant it either.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    if plan.network == Network::Proxy {
        plan.env.extend(network::proxy(talk).map_err(|e| format!("cannot set up the proxy: {e}"))?);
    }
    if let Some(view) = &plan.view {
        mounts::enter(view)?;
    }
    // Neither the task nor what it starts gains rights it does not have.
    set_no_new_privs(true).map_err(|e| format!("cannot give up rights: {e}"))
}

/// Leaves some namespaces of the node for new ones. Must happen before there is a second thread.
fn unshare(flags: UnshareFlags, user_namespace: bool) -> io::Result<()> {
    if flags.is_empty() {
        return Ok(());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let flags = if user_namespace { flags | UnshareFlags::NEWUSER } else { flags };
    // Deprecated only because another flag, which is never among these, could take files away from other threads.
    #[allow(deprecated)]
    rustix::thread::unshare(flags)?;
    if user_namespace {
        // The task is who the node is; other users do not exist for it.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    Ok(())
}

/// Tries out what is possible. The process is of no use afterwards.
pub(super) fn probe(user_namespace: bool) -> Report {
    let view = unshare(UnshareFlags::NEWNS, user_namespace).and_then(|()| mounts::probe());
    // A second user namespace would be one inside the first.
    let inside = user_namespace && view.is_ok();
    let network = unshare(UnshareFlags::NEWNET, user_namespace && !inside).and_then(|()| network::up());
    Report::Able {
        no_view: view.err().map(|e| e.to_string()),
        no_network: network.err().map(|e| e.to_string()),
    }
}
