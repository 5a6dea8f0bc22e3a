//! Which programs may run, and where the one that a task names is.

use super::error;
use crate::sources::normalise_guest_path;
use bacalhau_model::exec::ExecParams;
use bacalhau_model::{Error, error::code};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where names are looked for if the task does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that may run: globs over their real paths. `*` stays inside one folder, `**` crosses folders.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    allowed: GlobSet,
    all: bool,
}

impl Programs {
    /// Reads the globs.
    ///
    /// # Errors
    /// The first that is none, in words.
    pub(super) fn new(patterns: &[String]) -> Result<Programs, String> {
        let mut set = GlobSetBuilder::new();
        let mut all = false;
        for pattern in patterns.iter().map(|p| p.trim()).filter(|p| !p.is_empty()) {
            all |= matches!(pattern, "**" | "/**");
            if !pattern.starts_with('/') && pattern != "**" {
                return Err(format!("'{pattern}' must be an absolute path"));
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|e| format!("'{pattern}' is no path pattern: {e}"))?);
        }
        Ok(Programs { allowed: set.build().map_err(|e| e.to_string())?, all })
    }

    /// Finds the program and checks that it may run; gives its real path, for a link may lead elsewhere a moment later.
    /// `own` are places where the task's data lies: a program there is not on the host yet, and its path is taken as it
    /// is. Blocks briefly.
    pub(super) fn find(
        &self,
        params: &ExecParams,
        path: Option<&str>,
        own: &[&str],
    ) -> Result<PathBuf, Error> {
        let command = params.command.as_str();
        let is_own = |file: &Path| own.iter().any(|place| file.starts_with(place));
        let plain = PathBuf::from(normalise_guest_path(command)?);
        let real = if command.starts_with('/') && is_own(&plain) {
            plain
        } else if command.starts_with('/') {
            executable(Path::new(command)).map_err(|why| missing(&format!("program {command} {why}")))?
        } else {
            let path = path.unwrap_or(DEFAULT_PATH);
            let folders = path.split(':').filter(|folder| folder.starts_with('/'));
            folders
                .map(|folder| Path::new(folder).join(command))
                .filter(|file| !is_own(file))
                .find_map(|file| executable(&file).ok())
                .ok_or_else(|| missing(&format!("program {command:?} is in none of the folders {path}")))?
        };
        if self.all || self.allowed.is_match(&real) {
            return Ok(real);
        }
        let message = format!("program {} is not in the allowed programs of this node", real.display());
        Err(Error::new(code::FORBIDDEN, message)
            .component(super::COMPONENT)
            .hint("The node's Engines.Types.Exec.AllowListedPrograms says which programs jobs may run"))
    }

    /// Checks the task's variables: with some of them an allowed program becomes any program.
    pub(super) fn check_env<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let changes_programs =
            |name: &str| name.starts_with("LD_") || matches!(name, "GLIBC_TUNABLES" | "BASH_ENV" | "ENV");
        match names.find(|name| !self.all && changes_programs(name)) {
            None => Ok(()),
            Some(name) => {
                let message =
                    format!("environment variable {name} cannot be set: it changes what a program does");
                Err(Error::new(code::FORBIDDEN, message)
                    .component(super::COMPONENT)
                    .hint("Nodes that allow only some programs refuse it; remove it from the task's Env"))
            }
        }
    }
}

/// The real path of a file that can be executed, or what is wrong with it.
fn executable(file: &Path) -> Result<PathBuf, String> {
    let real = file.canonicalize().map_err(|e| format!("cannot be found: {e}"))?;
    let meta = fs::metadata(&real).map_err(|e| format!("cannot be read: {e}"))?;
    if !meta.is_file() {
        return Err("is no file".to_owned());
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err("is not executable".to_owned());
    }
    Ok(real)
}

fn missing(message: &str) -> Error {
    error(format!("{message} on this node")).hint("Install the program on the node, or correct Command")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn programs(patterns: &[&str]) -> Programs {
        Programs::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn command(command: &str) -> ExecParams {
        ExecParams { command: command.into(), ..ExecParams::default() }
    }

    #[test]
    fn real_paths_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let tool = base.join("tool");
        fs::write(&tool, "#!/bin/sh\n").unwrap();
        let run = |list: &Programs, name: &Path| list.find(&command(name.to_str().unwrap()), None, &[]);
        let list = programs(&[&format!("{}/tool", base.display())]);
        assert!(run(&list, &tool).unwrap_err().message.contains("is not executable"));
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(run(&list, &tool).unwrap(), tool);
        // A link that is allowed leads to a program that is not, and the other way round.
        symlink("/bin/sh", base.join("tool2")).unwrap();
        symlink(&tool, base.join("other")).unwrap();
        let by_link = programs(&[&format!("{}/tool2", base.display())]);
        assert!(
            run(&by_link, &base.join("tool2")).unwrap_err().message.contains("not in the allowed programs")
        );
        assert_eq!(run(&list, &base.join("other")).unwrap(), tool);
        assert!(run(&list, &base).unwrap_err().message.contains("is no file"));
        assert!(run(&list, &base.join("none")).unwrap_err().message.contains("cannot be found"));
    }

    #[test]
    fn names_are_looked_for_in_path() {
        let list = programs(&["/**"]);
        let found = list.find(&command("sh"), None, &[]).unwrap();
        assert_eq!(found, Path::new("/bin/sh").canonicalize().unwrap());
        assert!(list.find(&command("sh"), Some("relative:/nonexistent"), &[]).is_err());
        assert!(programs(&[]).find(&command("sh"), None, &[]).is_err());
        assert!(Programs::new(&["bin/x".into()]).is_err() && Programs::new(&["/[".into()]).is_err());
    }

    #[test]
    fn programs_of_the_task_are_judged_by_their_place() {
        let own = ["/inputs"];
        assert!(programs(&["/inputs/**"]).find(&command("/inputs/run.sh"), None, &own).is_ok());
        assert!(programs(&["/usr/bin/*"]).find(&command("/inputs/run.sh"), None, &own).is_err());
        // No detour through them makes a host's program one of the task's.
        let odd = programs(&["/inputs/**"]).find(&command("/inputs/../usr/bin/true"), None, &own);
        assert!(odd.unwrap_err().message.contains("cannot be found"));
    }

    #[test]
    fn variables_that_change_programs_need_an_open_list() {
        assert!(programs(&["/usr/bin/sort"]).check_env(["A", "LD_PRELOAD"].into_iter()).is_err());
        assert!(programs(&["/usr/bin/sort"]).check_env(["A", "HOLD_ME"].into_iter()).is_ok());
        assert!(programs(&["/**"]).check_env(["LD_PRELOAD"].into_iter()).is_ok());
    }
}
