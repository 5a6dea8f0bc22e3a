//! `node credentials`: keys with which single nodes join.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::list::{self, Field, ListArgs};
use crate::output::table::Column;
use crate::output::text::date_time;
use bacalhau_api::credentials::NodeCredential;
use bacalhau_model::Error;
use bacalhau_wire::credentials::NodeCredentials;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Commands of `node credentials`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a key for a compute node and let it join with that
    #[command(after_help = "Examples:\n  \
        bacalhau node credentials create node-7\n  \
        bacalhau serve --compute -c Compute.Auth.Credentials=node-7.creds -c Compute.Orchestrators=<HOST>\n\n\
        The node may then speak for itself only, and is called as the credentials say. As soon as there are any,\n\
        nodes need credentials or the token of Orchestrator.Auth.Token to join.")]
    Create {
        /// ID of the node
        #[arg(value_name = "NAME")]
        name: String,
        /// The file to write; NAME.creds when left out
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// List the nodes that have credentials
    #[command(after_help = "Examples:\n  bacalhau node credentials list")]
    List(ListArgs),
    /// Take a node's credentials away; its connection ends
    #[command(after_help = "Examples:\n  bacalhau node credentials revoke node-7")]
    Revoke {
        /// ID of the node
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs a command.
pub(super) async fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Create { name, output_file } => create(context, &name, output_file).await,
        Verb::List(args) => {
            let all = context.client()?.node_credentials().await?;
            list::print(&context.out, &args, &all, &fields())
        }
        Verb::Revoke { name } => {
            context.client()?.revoke_node_credentials(&name).await?;
            context.out.line(&format!("Credentials of node {name} revoked"))
        }
    }
}

/// The key is made here and stays here: the server gets its public half.
async fn create(context: &Context, name: &str, file: Option<PathBuf>) -> Outcome {
    let made = NodeCredentials::generate(name).map_err(fail)?;
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{}.creds", name.replace('/', "_"))));
    let client = context.client()?;
    write_new(&file, &made.to_text())?;
    let known = client.node_credentials().await;
    if let Err(error) = client.create_node_credentials(name, made.public_key()).await {
        // Nobody can join with it.
        let _ = std::fs::remove_file(&file);
        return Err(error.into());
    }
    if known.is_ok_and(|known| known.is_empty()) {
        context.out.note(
            "These are the first credentials: from now on nodes without any, and without the token of \
             Orchestrator.Auth.Token, are kept out.",
        );
    }
    context.out.line(&format!(
        "Wrote the credentials of node {name} to {}\nKeep the file secret. On the node:\n\n  \
         bacalhau config set Compute.Auth.Credentials=<path of the file>",
        file.display()
    ))
}

fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(|e| {
        fail(format!("cannot make {}: {e}", path.display())).hint("choose another file with --output-file")
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|e| fail(format!("cannot write {}: {e}", path.display())))
}

fn fields() -> Vec<Field<NodeCredential>> {
    vec![
        Field::new(Column::new("name"), |c: &NodeCredential| c.name.clone()),
        Field::new(Column::new("public key"), |c: &NodeCredential| c.public_key.clone()),
        Field::new(Column::new("created"), |c: &NodeCredential| date_time(c.create_time.unix_nanos())),
    ]
}
