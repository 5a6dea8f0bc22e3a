//! What the node and the supervisor of a task say to each other: lines of JSON over a socket.
//!
//! The node's first line is a [`Request`]; [`Order`]s may follow. When the node closes the socket, or dies, the
//! supervisor kills everything and ends.

use crate::cgroup::Cgroup;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a supervisor is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// To tell what is possible here.
    Probe {
        /// In a user namespace of its own.
        user_namespace: bool,
    },
    /// To run a task.
    Run(Box<Plan>),
}

/// A task, with everything decided.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The program's file as the task sees it.
    pub(super) program: PathBuf,
    /// The name it is called by.
    pub(super) name: String,
    /// Arguments without the name.
    pub(super) arguments: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<(String, String)>,
    /// Where it starts.
    pub(super) folder: PathBuf,
    /// User and group, if not the node's.
    pub(super) user: Option<(u32, u32)>,
    /// The task's group, if there are any here.
    pub(super) cgroup: Option<Cgroup>,
    /// Namespaces need a user namespace: the node is not root.
    pub(super) user_namespace: bool,
    /// Its own view of the file system.
    pub(super) view: Option<View>,
    /// Its network.
    pub(super) network: Network,
}

/// What a task sees: the host's folders, its own `/tmp`, and its data.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct View {
    /// Empty folder of the host over which it is put together.
    pub(super) root: PathBuf,
    /// The folder of the host that the task sees as `/tmp`.
    pub(super) tmp: PathBuf,
    /// What else it sees, outer ones first.
    pub(super) binds: Vec<Bind>,
}

/// Data at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bind {
    /// On the host.
    pub(super) from: PathBuf,
    /// Absolute path in the view.
    pub(super) to: String,
    /// A file, not a folder.
    pub(super) is_file: bool,
    /// The task must not change it.
    pub(super) read_only: bool,
}

/// A task's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Network {
    /// The host's.
    #[default]
    Host,
    /// A loopback of its own.
    None,
    /// The same, and on it a proxy: a socket is handed to the node, which serves it.
    Proxy,
}

/// What the node wants while a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// All processes get SIGTERM.
    Terminate,
    /// All processes get SIGKILL.
    Kill,
}

/// What a supervisor tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The answer to [`Request::Probe`].
    Able {
        /// Why tasks cannot have a view of their own, if so.
        no_view: Option<String>,
        /// Why tasks cannot have a network of their own, if so.
        no_network: Option<String>,
    },
    /// A socket for the proxy comes with this message.
    Listening,
    /// The program runs.
    Started,
    /// It does not; the sentence says why.
    NotStarted(String),
    /// It ended, and so did everything it left behind.
    Ended {
        /// Its exit code, if it had the time.
        code: Option<i32>,
        /// The signal that ended it otherwise.
        signal: Option<i32>,
    },
}
