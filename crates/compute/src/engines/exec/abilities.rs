//! What this node can do for a task, found out by trying it in a process that ends.

use super::channel::Channel;
use super::error;
use super::plan::{Report, Request};
use bacalhau_model::{Error, NetworkType};
use rustix::process::geteuid;
use std::ffi::OsString;
use std::io;

/// What is possible. The texts say why something is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Abilities {
    /// Namespaces are made inside a user namespace: the node is not root.
    pub(super) user_namespace: bool,
    no_view: Option<String>,
    no_network: Option<String>,
}

impl Abilities {
    /// Asks a supervisor.
    ///
    /// # Errors
    /// It cannot be started: nothing can.
    pub(super) async fn probe(supervisor: &[OsString]) -> io::Result<Abilities> {
        let user_namespace = !geteuid().is_root();
        let (mut channel, _output) = Channel::open(supervisor, &Request::Probe { user_namespace }).await?;
        let report = channel.report().await;
        channel.ended().await;
        match report? {
            Report::Able { no_view, no_network } => Ok(Abilities { user_namespace, no_view, no_network }),
            other => Err(io::Error::other(format!("the supervisor answered {other:?}"))),
        }
    }

    pub(super) fn has_view(&self) -> bool {
        self.no_view.is_none()
    }

    /// For inputs and results, which lie where the host has nothing.
    pub(super) fn need_view(&self) -> Result<(), Error> {
        self.no_view.as_ref().map_or(Ok(()), |why| {
            Err(error(format!("this node cannot give processes inputs and results: no mount namespaces ({why})"))
                .hint("Run the node as root, or allow unprivileged user namespaces; jobs without inputs and results work"))
        })
    }

    /// For network types that must not be more than they say.
    pub(super) fn need_network(&self, wanted: NetworkType) -> Result<(), Error> {
        self.no_network.as_ref().map_or(Ok(()), |why| {
            Err(error(format!(
                "this node cannot enforce network type {wanted} for processes: no network namespaces ({why})"
            ))
            .hint("Run the node as root, or allow unprivileged user namespaces; network type Host works"))
        })
    }
}
