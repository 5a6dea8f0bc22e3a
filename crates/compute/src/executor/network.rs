//! The network of a task as this node gives it, and the ports of tasks that a former life of the node started.

use super::Executor;
use super::ports::PortLease;
use crate::egress::DomainList;
use bacalhau_model::{Error, NetworkConfig, NetworkType, Task};
use std::collections::BTreeSet;
use std::sync::PoisonError;

impl Executor {
    /// The network of a task: on a node that takes no jobs with network access, a task that does not say what it wants
    /// has none. Everywhere else each engine knows what that means.
    pub(super) fn network(&self, task: &Task) -> NetworkConfig {
        let mut network = task.network();
        if network.r#type == NetworkType::Default && self.inner.config.reject_networked {
            network.r#type = NetworkType::None;
        }
        network
    }

    /// Checks what no engine can do anything about.
    ///
    /// # Errors
    /// A network of type `HTTP` without a domain, or with one that is none.
    pub(super) fn check_network(&self, task: &Task) -> Result<(), Error> {
        let network = task.network();
        if network.r#type == NetworkType::Http {
            DomainList::of(&network)?;
        }
        Ok(())
    }

    /// Takes the ports of executions that will be adopted, before others can get them. Reads a small file for each.
    pub(super) fn take_ports_over(&self, keep: &BTreeSet<String>) {
        let leases = keep.iter().map(|id| (id.clone(), self.adopted_ports(id))).collect();
        *self.inner.adopted_ports.lock().unwrap_or_else(PoisonError::into_inner) = leases;
    }

    /// The ports of an execution that is adopted.
    pub(super) fn adopted_ports(&self, execution_id: &str) -> PortLease {
        let known =
            self.inner.adopted_ports.lock().unwrap_or_else(PoisonError::into_inner).remove(execution_id);
        known.unwrap_or_else(|| {
            self.inner.ports.take_over(execution_id, &self.inner.config.work_folder(execution_id))
        })
    }
}
