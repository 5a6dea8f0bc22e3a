//! Prepares the command line before clap sees it.
//!
//! Three habits of the original's users are not clap's: every configuration key is also a long flag in any case
//! (`--Compute.Orchestrators=secret@host`), booleans may carry a value (`--wait=false`), and a value may start with a
//! dash. This module walks the arguments once along the command tree, takes out everything that is configuration and
//! writes the rest in a form that means the same to both. It decides nothing else and reads no configuration.

use crate::failure::fail;
use bacalhau_model::Error;
use clap::{Arg, ArgAction, Command};

/// What the caller knows of a configuration key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The key as it is spelled in the documentation.
    pub(crate) name: String,
    /// A flag without a value means `true`.
    pub(crate) is_bool: bool,
}

/// The command line, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// What clap shall parse, program name first.
    pub(crate) args: Vec<String>,
    /// Values of `-c`/`--config` and of flags named like keys, in the order they were written.
    pub(crate) config: Vec<String>,
}

/// Sorts the command line. `key` finds a configuration key by its name in any case.
///
/// # Errors
/// When a flag needs a value and the line ends, or a boolean flag has a value that is no boolean.
pub(crate) fn prepare(
    root: &Command,
    argv: Vec<String>,
    key: &dyn Fn(&str) -> Option<Key>,
) -> Result<Prepared, Error> {
    let mut argv = argv.into_iter();
    let mut walk = Walk { path: vec![root], positional: false, key, out: Prepared::default() };
    walk.out.args.extend(argv.next());
    while let Some(token) = argv.next() {
        if token == "--" {
            walk.out.args.push(token);
            walk.out.args.extend(argv);
            break;
        }
        if let Some(long) = token.strip_prefix("--") {
            walk.long(long, &mut argv)?;
        } else if let Some(cluster) = token.strip_prefix('-').filter(|c| !c.is_empty()) {
            walk.short(cluster, &mut argv)?;
        } else {
            walk.word(token);
        }
    }
    Ok(walk.out)
}

struct Walk<'a> {
    /// The commands from the root to the current one.
    path: Vec<&'a Command>,
    /// A positional argument of the current command was seen, so no subcommand follows.
    positional: bool,
    key: &'a dyn Fn(&str) -> Option<Key>,
    out: Prepared,
}

impl<'a> Walk<'a> {
    fn word(&mut self, token: String) {
        let below = self.path.last().filter(|_| !self.positional).and_then(|c| c.find_subcommand(&token));
        match below {
            Some(command) => self.path.push(command),
            None => self.positional = true,
        }
        self.out.args.push(token);
    }

    fn long(&mut self, text: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), Error> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let needs = || fail(format!("flag needs an argument: --{name}"));
        if name == "config" {
            self.out.config.push(value.or_else(|| rest.next()).ok_or_else(needs)?);
            return Ok(());
        }
        let Some(arg) = self.find(|arg| has_long(arg, name)) else {
            match ((self.key)(name), value) {
                (Some(key), Some(value)) => self.out.config.push(format!("{}={value}", key.name)),
                (Some(key), None) if key.is_bool => self.out.config.push(format!("{}=true", key.name)),
                (Some(key), None) => {
                    self.out.config.push(format!("{}={}", key.name, rest.next().ok_or_else(needs)?));
                }
                // Clap knows how to complain, `--help` and `--version` included.
                (None, _) => self.out.args.push(format!("--{text}")),
            }
            return Ok(());
        };
        match (takes_value(arg), value) {
            (Takes::Nothing, None) | (Takes::Optional, None) => self.out.args.push(format!("--{name}")),
            (Takes::Nothing, Some(value)) => match go_bool(&value) {
                Some(true) => self.out.args.push(format!("--{name}")),
                Some(false) => {}
                None => {
                    return Err(fail(format!(
                        "invalid argument {value:?} for \"--{name}\" flag: it must be true or false"
                    )));
                }
            },
            (_, Some(value)) => self.out.args.push(format!("--{name}={value}")),
            (Takes::Value, None) => {
                let value = rest.next().ok_or_else(needs)?;
                self.out.args.push(format!("--{name}={value}"));
            }
        }
        Ok(())
    }

    /// `-f`, `-fl value`, `-lvalue`, `-l=value`.
    fn short(&mut self, cluster: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), Error> {
        let mut chars = cluster.chars();
        while let Some(letter) = chars.next() {
            let needs = || fail(format!("flag needs an argument: '{letter}' in -{cluster}"));
            let is_config = letter == 'c';
            let wants_value = is_config
                || self
                    .find(|arg| arg.get_short() == Some(letter))
                    .is_some_and(|arg| takes_value(arg) == Takes::Value);
            if !wants_value {
                self.out.args.push(format!("-{letter}"));
                continue;
            }
            let attached = chars.as_str();
            let value = match attached.strip_prefix('=').unwrap_or(attached) {
                "" if attached.is_empty() => rest.next().ok_or_else(needs)?,
                text => text.to_owned(),
            };
            if is_config {
                self.out.config.push(value);
            } else {
                self.out.args.push(format!("-{letter}={value}"));
            }
            return Ok(());
        }
        Ok(())
    }

    /// An argument of the current command, or a global one of a command above it.
    fn find(&self, matches: impl Fn(&Arg) -> bool) -> Option<&'a Arg> {
        let last = self.path.len().saturating_sub(1);
        self.path.iter().enumerate().rev().find_map(|(at, command)| {
            command.get_arguments().find(|arg| (at == last || arg.is_global_set()) && matches(arg))
        })
    }
}

fn has_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|names| names.contains(&name))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Optional,
    Value,
}

fn takes_value(arg: &Arg) -> Takes {
    let none = matches!(
        arg.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count | ArgAction::Help | ArgAction::Version
    );
    match (none, arg.is_require_equals_set()) {
        (true, _) => Takes::Nothing,
        (false, true) => Takes::Optional,
        (false, false) => Takes::Value,
    }
}

/// Go's spellings of a boolean.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Command {
        let wait = Arg::new("wait").long("wait").num_args(0..=1).require_equals(true);
        Command::new("bacalhau").arg(Arg::new("host").long("api-host").global(true)).subcommand(
            Command::new("docker").subcommand(
                Command::new("run")
                    .arg(Arg::new("labels").long("labels").short('l').action(ArgAction::Append))
                    .arg(Arg::new("follow").long("follow").short('f').action(ArgAction::SetTrue))
                    .arg(Arg::new("priority").long("priority"))
                    .arg(wait)
                    .arg(Arg::new("rest").num_args(0..)),
            ),
        )
    }

    fn keys(name: &str) -> Option<Key> {
        ["Compute.Orchestrators", "WebUI.Enabled", "Labels"]
            .into_iter()
            .find(|k| k.eq_ignore_ascii_case(name))
            .map(|k| Key { name: k.to_owned(), is_bool: k == "WebUI.Enabled" })
    }

    fn run(line: &[&str]) -> Result<(String, String), Error> {
        let argv = ["bacalhau"].iter().chain(line).map(|s| (*s).to_owned()).collect();
        prepare(&root(), argv, &keys).map(|p| (p.args[1..].join(" "), p.config.join(" ")))
    }

    #[test]
    fn keys_are_flags_in_any_case() {
        let (args, config) = run(&[
            "docker",
            "--compute.orchestrators=a@b:1",
            "run",
            "--COMPUTE.ORCHESTRATORS",
            "c",
            "--WebUI.Enabled",
            "-c",
            "x.yaml",
            "-cK=V",
            "--config=z=1",
        ])
        .unwrap();
        assert_eq!(args, "docker run");
        assert_eq!(
            config,
            "Compute.Orchestrators=a@b:1 Compute.Orchestrators=c WebUI.Enabled=true x.yaml K=V z=1"
        );
    }

    #[test]
    fn the_commands_own_flags_win() {
        let (args, config) = run(&["docker", "run", "--labels", "a=b", "-l", "c", "-fl=d", "img"]).unwrap();
        assert_eq!((args.as_str(), config.as_str()), ("docker run --labels=a=b -l=c -f -l=d img", ""));
        // Above the command that has the flag, the name is that of the key.
        assert_eq!(run(&["--labels", "a=b", "docker"]).unwrap().1, "Labels=a=b");
    }

    #[test]
    fn booleans_values_and_dashes() {
        let line = ["docker", "run", "--follow=false", "--wait=false", "--wait", "img", "--priority", "-1"];
        assert_eq!(run(&line).unwrap().0, "docker run --wait=false --wait img --priority=-1");
        assert_eq!(run(&["docker", "run", "--follow=True"]).unwrap().0, "docker run --follow");
        assert!(run(&["docker", "run", "--follow=maybe"]).unwrap_err().message.contains("maybe"));
        assert_eq!(
            run(&["docker", "run", "--priority"]).unwrap_err().message,
            "flag needs an argument: --priority"
        );
        assert_eq!(run(&["docker", "run", "-l"]).unwrap_err().message, "flag needs an argument: 'l' in -l");
    }

    #[test]
    fn after_two_dashes_nothing_is_touched() {
        let line = ["docker", "run", "img", "--", "bash", "-c", "--WebUI.Enabled", "--api-host"];
        assert_eq!(run(&line).unwrap(), (line.join(" "), String::new()));
        let unknown = run(&["--api-host", "h", "docker", "run", "--nope", "-x"]).unwrap().0;
        assert_eq!(unknown, "--api-host=h docker run --nope -x");
    }
}
