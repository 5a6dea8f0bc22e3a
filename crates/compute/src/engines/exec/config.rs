//! Settings of the engine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of an [`super::ExecEngine`].
#[derive(Clone, Debug)]
pub struct ExecConfig {
    /// `Engines.Types.Exec.AllowListedPrograms`: globs over real paths of programs. Without any, nothing runs.
    pub programs: Vec<String>,
    /// `Engines.Types.Exec.User`: name or number; empty is the node's own, or `nobody` if that is root.
    pub user: String,
    /// `Engines.Types.Exec.Group`: name or number; empty is the user's own.
    pub group: String,
    /// Folder for notes about what runs, so that a later life of the node finds what this one left behind.
    pub folder: PathBuf,
    /// The program and first arguments that make a supervisor (see [`super::supervise`]).
    pub supervisor: Vec<OsString>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Processes and threads of one task at most.
    pub pids: u64,
}

impl ExecConfig {
    /// Defaults for a node whose own folder this is: no programs, this very executable as supervisor, 10 seconds as
    /// `docker stop` has them, 4096 processes: more than any build needs, fewer than a machine has.
    pub fn new(folder: impl Into<PathBuf>) -> ExecConfig {
        ExecConfig {
            programs: Vec::new(),
            user: String::new(),
            group: String::new(),
            folder: folder.into(),
            // Not its path: the file may have been replaced by a newer version, or be gone.
            supervisor: vec!["/proc/self/exe".into(), super::SUPERVISOR_ARGUMENT.into()],
            grace: Duration::from_secs(10),
            pids: 4096,
        }
    }
}
