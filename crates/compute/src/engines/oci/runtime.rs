//! The program that makes containers: `crun` or `runc`, whichever works on this machine.
//!
//! "Works" is tried, not guessed: a container is made for a program that does not exist, and the runtime has to come
//! as far as looking for it.

use super::bundle::{Container, NetworkSpace};
use super::devices::Devices;
use super::user::User;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Tried in this order: the first starts containers in a third of the time.
const KNOWN: [&str; 2] = ["crun", "runc"];

/// What the trial looks for in vain.
const NO_PROGRAM: &str = "/no-such-program-of-bacalhau";

/// Longest time of a trial.
const PATIENCE: Duration = Duration::from_secs(20);

/// A failure is believed this long.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Bytes of what a runtime says that are looked at.
const MOST_WORDS: usize = 64 << 10;

/// A runtime that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runtime {
    pub(super) program: PathBuf,
    /// Its name and version, such as `runc 1.1.5`.
    pub(super) version: String,
}

/// The runtime of this node, once it was found.
#[derive(Default)]
pub(super) struct Runtimes {
    found: tokio::sync::Mutex<Option<(Result<Runtime, String>, Instant)>>,
    version: Mutex<Option<String>>,
}

impl Runtimes {
    /// Name and version of the one that was found.
    pub(super) fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first that works, for as long as its program is there; `Err` says of each why it does not.
    pub(super) async fn get(
        &self,
        wanted: Option<&Path>,
        folder: &Path,
        cgroup_v2: bool,
    ) -> Result<Runtime, String> {
        let mut found = self.found.lock().await;
        match &*found {
            Some((Ok(runtime), _)) if is_there(&runtime.program).await => return Ok(runtime.clone()),
            Some((Err(reason), at)) if at.elapsed() < TRY_AGAIN => return Err(reason.clone()),
            _ => {}
        }
        // A task of its own: a trial that nobody waits for any more must not be broken off half-way.
        let (wanted, folder) = (wanted.map(Path::to_owned), folder.to_owned());
        let trial = tokio::spawn(async move { find(wanted.as_deref(), &folder, cgroup_v2).await });
        let result = trial.await.unwrap_or_else(|e| Err(format!("the trial broke down: {e}")));
        match &result {
            Ok(runtime) => {
                let Runtime { program, version } = runtime;
                tracing::info!(program = %program.display(), %version, "containers are run by");
            }
            // Tried again and again, and told once.
            Err(reason) if matches!(&*found, Some((Err(known), _)) if known == reason) => {}
            Err(reason) => tracing::info!(%reason, "engine oci is not available"),
        }
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) =
            result.as_ref().ok().map(|runtime| runtime.version.clone());
        *found = Some((result.clone(), Instant::now()));
        result
    }
}

/// What cannot be looked at is found out when it is used.
async fn is_there(program: &Path) -> bool {
    tokio::fs::try_exists(program).await.unwrap_or(true)
}

async fn find(wanted: Option<&Path>, folder: &Path, cgroup_v2: bool) -> Result<Runtime, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the node does not run as root".to_owned());
    }
    let candidates = match wanted {
        Some(path) => vec![path.to_owned()],
        None => KNOWN.iter().filter_map(|name| in_path(name)).collect(),
    };
    if candidates.is_empty() {
        return Err("neither crun nor runc is installed".to_owned());
    }
    let mut reasons = Vec::new();
    for program in candidates {
        match probe(&program, folder, cgroup_v2).await {
            Ok(()) => {
                let version = version(&program).await;
                return Ok(Runtime { program, version });
            }
            Err(reason) => reasons.push(format!("{}: {reason}", program.display())),
        }
    }
    Err(reasons.join("; "))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are often started without the folders of administrators' programs.
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&folders).chain(more).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What the program says of itself: `runc version 1.1.5` is `runc 1.1.5`.
async fn version(program: &Path) -> String {
    let said = output(Command::new(program).arg("--version")).await.unwrap_or_default();
    let words: Vec<&str> = said.lines().next().unwrap_or_default().split_whitespace().collect();
    match words.as_slice() {
        [name, "version", number, ..] => format!("{name} {number}"),
        _ => program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Whether the program makes containers here.
async fn probe(program: &Path, folder: &Path, cgroup_v2: bool) -> Result<(), String> {
    let id = format!("probe-{}", uuid::Uuid::new_v4().simple());
    let bundle = Bundle(folder.join(&id));
    match make_bundle(&bundle.0, &id, cgroup_v2) {
        Ok(()) => try_out(program, &bundle.0, &id).await,
        Err(e) => Err(format!("cannot try it: {e}")),
    }
}

/// A folder that goes away by itself.
struct Bundle(PathBuf);

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_bundle(bundle: &Path, id: &str, cgroup_v2: bool) -> std::io::Result<()> {
    let root = bundle.join("root");
    DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
    let container = Container {
        root,
        args: vec![NO_PROGRAM.to_owned()],
        env: Vec::new(),
        cwd: "/".to_owned(),
        user: User::default(),
        hostname: "probe".to_owned(),
        binds: Vec::new(),
        devices: Devices::default(),
        network: NetworkSpace::Empty,
        cgroup: format!("/bacalhau-{id}"),
        cpu: 1.0,
        memory: 64 << 20,
        limit_swap: false,
        pids: 10,
        cgroup_v2,
    };
    fs::write(bundle.join("config.json"), container.config().to_string())
}

async fn try_out(program: &Path, bundle: &Path, id: &str) -> Result<(), String> {
    let state = bundle.join("state");
    let said =
        output(Command::new(program).arg("--root").arg(&state).args(["run", "--bundle"]).arg(bundle).arg(id))
            .await?;
    let _ = output(Command::new(program).arg("--root").arg(&state).args(["delete", "--force", id])).await;
    if said.contains(NO_PROGRAM) {
        return Ok(());
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(last.chars().take(300).collect())
}

/// Everything that a program says.
async fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.map_err(|_| "it does not end".to_owned())?;
    let mut output = output.map_err(|e| e.to_string())?;
    output.stdout.append(&mut output.stderr);
    output.stdout.truncate(MOST_WORDS);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last thing that a runtime wrote into its log (JSON lines), without what went before in its chain of causes.
pub(super) fn last_words(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(..text.len().min(MOST_WORDS)).unwrap_or_default());
    let parse = |line: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(value.get("level")?.as_str()?, "error" | "fatal");
        is_error.then(|| value.get("msg")?.as_str().map(str::to_owned)).flatten()
    };
    text.lines().rev().find_map(parse)
}
