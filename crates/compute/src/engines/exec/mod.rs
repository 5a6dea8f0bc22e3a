//! The `exec` engine: plain processes on the host, for fleets that want them.
//!
//! Off unless the operator switches it on, and then only for programs that are listed. A task is a program with its
//! data at the places it names, a `/tmp` of its own, limits, and an end that nothing of it survives: each has a
//! [`supervisor`], which kills everything when the task ends, when it is to stop, and when the node is gone. It is no
//! container: the task sees the host's files, with the rights of its user.

mod abilities;
mod channel;
mod config;
mod notes;
mod output;
mod places;
mod plan;
mod prepare;
mod programs;
mod run;
mod supervisor;
mod user;
mod watch;

pub use config::ExecConfig;
pub use supervisor::{ARGUMENT as SUPERVISOR_ARGUMENT, supervise};

use super::{Engine, EngineError, EngineRequest};
use crate::cgroup::Cgroups;
use crate::egress::DomainList;
use crate::sources::normalise_guest_path;
use abilities::Abilities;
use bacalhau_model::exec::{ENGINE, ExecParams};
use bacalhau_model::{Error, Execution, NetworkType, Task, error::code};
use futures_util::future::BoxFuture;
use notes::Notes;
use programs::Programs;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;
use user::User;

/// Component named in errors.
const COMPONENT: &str = "Exec";

/// The engine.
pub struct ExecEngine {
    house: Arc<House>,
}

/// What all tasks share.
struct House {
    config: ExecConfig,
    programs: Programs,
    user: Option<User>,
    notes: Notes,
    abilities: OnceCell<Abilities>,
    cgroups: OnceLock<Option<Cgroups>>,
}

impl ExecEngine {
    /// An engine with these settings. Nothing runs yet.
    ///
    /// # Errors
    /// Settings that cannot work; the text names them.
    pub fn new(config: ExecConfig) -> Result<ExecEngine, Error> {
        let wrong = |why: String| {
            Error::new(code::CONFIGURATION_ERROR, why).component(COMPONENT).hint("Correct Engines.Types.Exec")
        };
        let programs = Programs::new(&config.programs)
            .map_err(|why| wrong(format!("Engines.Types.Exec.AllowListedPrograms: {why}")))?;
        let node =
            User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let user = user::resolve(node, &config.user, &config.group).map_err(wrong)?;
        let notes = Notes::new(&config.folder);
        let house =
            House { config, programs, user, notes, abilities: OnceCell::new(), cgroups: OnceLock::new() };
        Ok(ExecEngine { house: Arc::new(house) })
    }
}

impl House {
    /// What is possible here; found out once.
    async fn abilities(&self) -> Result<&Abilities, Error> {
        let probing = self.abilities.get_or_try_init(|| Abilities::probe(&self.config.supervisor));
        probing.await.map_err(|e| {
            Error::new(code::INTERNAL_ERROR, format!("the supervisor of processes cannot be started: {e}"))
                .component(COMPONENT)
                .retryable()
        })
    }

    /// Where groups can be made, if anywhere; found out once. Blocks.
    fn cgroups(&self) -> Option<&Cgroups> {
        let find = || match Cgroups::detect(&node_name(&self.config.folder)) {
            Ok(cgroups) => {
                let missing: Vec<&str> = cgroups.missing().into_iter().map(|c| c.name()).collect();
                if !missing.is_empty() {
                    tracing::warn!(
                        missing = missing.join(", "),
                        "some limits of processes cannot be enforced: no such cgroup controllers"
                    );
                }
                Some(cgroups)
            }
            Err(error) => {
                tracing::warn!(%error, "limits of processes cannot be enforced: no cgroups; run the node as root or delegate a cgroup to it");
                None
            }
        };
        self.cgroups.get_or_init(find).as_ref()
    }

    /// Checks of a bid that need to look at this machine. Blocks.
    fn check(&self, task: &Task, abilities: &Abilities) -> Result<(), Error> {
        let params = ExecParams::read(&task.engine).map_err(error)?;
        let targets = task.input_sources.iter().map(|input| &input.target);
        let all = targets.chain(task.result_paths.iter().map(|result| &result.path));
        let own: Vec<String> = all.map(|path| normalise_guest_path(path)).collect::<Result<_, _>>()?;
        own.iter().try_for_each(|place| places::check(place))?;
        if !own.is_empty() {
            abilities.need_view()?;
        }
        prepare::network(task.network().r#type, abilities)?;
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.programs.find(&params, task.env.get("PATH").map(String::as_str), &own).map(|_| ())
    }
}

impl Engine for ExecEngine {
    fn name(&self) -> &'static str {
        ENGINE
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        ExecParams::read(&task.engine).map_err(error)?;
        DomainList::new(&task.network().domains)?;
        if task.network().r#type == NetworkType::Bridge {
            return prepare::network(NetworkType::Bridge, &Abilities::default()).map(|_| ());
        }
        self.house.programs.check_env(task.env.keys().map(String::as_str))
    }

    fn is_available(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            match self.house.abilities().await {
                Ok(_) => true,
                Err(error) => {
                    // Asked again and again; whoever starts a node sees in its description what it offers.
                    tracing::debug!(%error, "engine exec is not available");
                    false
                }
            }
        })
    }

    fn checks_every_bid(&self) -> bool {
        true
    }

    fn check<'a>(&'a self, _execution: &'a Execution, task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let abilities = self.house.abilities().await?.clone();
            let (house, task) = (Arc::clone(&self.house), task.clone());
            blocking(move || house.check(&task, &abilities)).await?
        })
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        Box::pin(run::run(Arc::clone(&self.house), request))
    }

    fn clean_up<'a>(&'a self, keep: &'a BTreeSet<String>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (notes, keep) = (self.house.notes.clone(), keep.clone());
            // A panic in there has been logged; the next start tries again.
            let _ = tokio::task::spawn_blocking(move || notes.clean_up(&keep)).await;
        })
    }
}

/// Runs something that blocks where that is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        Error::new(code::INTERNAL_ERROR, format!("preparing a process broke down: {e}")).component(COMPONENT)
    })
}

/// Names a node among those of this machine, the same in each of its lives.
fn node_name(folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// An error of this engine.
fn error(message: impl Into<String>) -> Error {
    Error::new(code::BAD_REQUEST, message).component(COMPONENT)
}
