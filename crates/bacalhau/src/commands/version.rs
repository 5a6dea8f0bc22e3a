//! `version`: what runs here and there.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs, ListFormat};
use crate::output::structured;
use crate::output::table::Column;
use bacalhau_model::BuildVersion;
use serde::Serialize;
use std::time::Duration;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Flags of `version`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  bacalhau version\n  bacalhau version --client --output json")]
pub(crate) struct VersionArgs {
    /// Do not ask the server
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: BuildVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_version: Option<BuildVersion>,
}

/// Shows the versions. A server that does not answer is left out.
pub(crate) async fn run(context: &Context, args: VersionArgs) -> Outcome {
    let mut versions =
        Versions { client_version: bacalhau_model::version::this_build(), server_version: None };
    if !args.client {
        let client = context.client()?;
        let answer = tokio::time::timeout(PATIENCE, client.agent_version()).await;
        versions.server_version = answer.ok().and_then(Result::ok);
    }
    let out = &context.out;
    match args.list.output {
        ListFormat::Json => out.raw(structured::json(&versions, args.list.pretty)?.as_bytes()),
        ListFormat::Yaml => out.raw(structured::yaml(&versions)?.as_bytes()),
        ListFormat::Table | ListFormat::Csv => {
            let mut fields =
                vec![Field::new(Column::new("client"), |v: &Versions| v.client_version.git_version.clone())];
            if versions.server_version.is_some() {
                fields.push(Field::new(Column::new("server"), |v: &Versions| {
                    v.server_version.as_ref().map(|s| s.git_version.clone()).unwrap_or_default()
                }));
            }
            list::print(out, &args.list, &[versions], &fields)
        }
    }
}
