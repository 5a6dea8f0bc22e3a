//! `config`: look at and change the configuration.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::list::{self, Field, ListArgs, ListFormat};
use crate::output::structured;
use crate::output::table::{Column, Wrap};
use bacalhau_config::edit::Assignment;
use bacalhau_config::render::{self, Row};
use bacalhau_model::Error;
use serde::Serialize;
use std::path::PathBuf;

/// Commands of `config`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List all keys with their values, secrets masked
    #[command(after_help = "Examples:\n  \
        bacalhau config list\n  \
        bacalhau config list --wide                  with the place each value comes from\n  \
        bacalhau config list --output yaml           as a configuration file")]
    List(ListArgs),
    /// Write a value into a configuration file
    #[command(after_help = "Examples:\n  \
        bacalhau config set API.Host=10.0.0.1\n  \
        bacalhau config set Labels=region=eu,tier=1\n  \
        bacalhau config set -c node.yaml Compute.Auth.Token=secret\n\n\
        Without -c it writes the file in use, normally config.yaml in the data directory.")]
    Set {
        /// The key and its value
        #[arg(value_name = "KEY=VALUE", required = true)]
        assignment: Vec<String>,
    },
}

/// A row as JSON shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    key: &'static str,
    value: String,
    description: &'static str,
    origin: String,
}

/// Runs a command.
pub(crate) fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::List(args) => list_all(context, args),
        Verb::Set { assignment } => set(context, &assignment),
    }
}

fn list_all(context: &Context, mut args: ListArgs) -> Outcome {
    let config = context.settings()?.config();
    if args.output == ListFormat::Yaml {
        return context.out.raw(structured::yaml(&render::document(config))?.as_bytes());
    }
    args.pretty = true;
    let show =
        |row: Row| Shown { key: row.key, value: row.value, description: row.description, origin: row.origin };
    let rows: Vec<Shown> = render::rows(config).into_iter().map(show).collect();
    let mut fields = vec![
        Field::new(Column::new("Key"), |r: &Shown| r.key.to_owned()),
        Field::new(Column::new("Value").at_most(80, Wrap::Soft), |r: &Shown| r.value.clone()),
        Field::new(Column::new("Description").at_most(80, Wrap::Soft), |r: &Shown| r.description.to_owned()),
    ];
    if args.wide {
        fields.push(Field::new(Column::new("Origin"), |r: &Shown| r.origin.clone()));
    }
    list::print(&context.out, &args, &rows, &fields)
}

fn set(context: &Context, words: &[String]) -> Outcome {
    let assignment = Assignment::parse(words)?;
    if assignment.deprecated_form {
        context.out.note("DEPRECATED: use key=value instead of space-separated key value");
    }
    let file = target(context)?;
    assignment.write(&file)?;
    context.out.line(&format!("Writing config to {}", file.display()))
}

/// The file to write: the one given with `-c`, else the one in use, else `config.yaml` in the data directory.
pub(super) fn target(context: &Context) -> Result<PathBuf, Error> {
    match context.config_items.as_slice() {
        [] => {
            let settings = context.settings()?;
            let in_use = settings.config().files.last().cloned();
            Ok(in_use.unwrap_or_else(|| settings.data_dir().join("config.yaml")))
        }
        [one] => {
            let file = PathBuf::from(one);
            let is_yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml");
            match (is_yaml, file.is_dir(), file.exists()) {
                (false, _, _) => Err(fail("config file must end with '.yaml' or '.yml'")),
                (_, true, _) => {
                    Err(fail(format!("specified configuration file is a directory, must be a file: {one}")))
                }
                (_, _, false) => Err(fail(format!("specified configuration file doesn't exist: {one}"))),
                (true, false, true) => Ok(file),
            }
        }
        _ => Err(fail("single config file can be set")),
    }
}
