//! Running servers: orchestrator, compute node, or both, and small clusters for trying things out.

pub(crate) mod addresses;
mod bus_options;
mod compute;
mod credentials;
mod devstack;
mod engines;
mod figures;
mod logging;
mod node;
mod options;
mod watch;

pub(crate) use devstack::run_devstack;

use crate::commands::serve::ServeArgs;
use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::settings::Settings;
use bacalhau_config::{DataDir, Value, validate};
use bacalhau_wire::connect::Reread;
use node::{Node, Roles};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a server until it is told to stop.
pub(crate) async fn run(context: &Context, args: ServeArgs) -> Outcome {
    let mut config = context.settings()?.config().clone();
    logging::start(&config);
    for (flag, key) in [(args.orchestrator, "Orchestrator.Enabled"), (args.compute, "Compute.Enabled")] {
        if flag {
            config.set(key, Value::Bool(true));
        }
    }
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    validate::validate(&config)?;
    let mut dir = DataDir::open(&config)?;
    let files: Vec<String> = config.files.iter().map(|f| f.display().to_string()).collect();
    tracing::info!("Config loaded from: [{}], and with data-dir {}", files.join(" "), dir.path().display());
    let mut roles = Roles {
        orchestrator: config.bool("Orchestrator.Enabled"),
        compute: config.bool("Compute.Enabled"),
        comes_back: true,
    };
    if !roles.orchestrator && !roles.compute {
        tracing::warn!("neither --orchestrator nor --compute is given: running as an orchestrator");
        roles.orchestrator = true;
        config.set("Orchestrator.Enabled", Value::Bool(true));
    }
    let hostname = addresses::hostname();
    // Credentials are for one node: it is called as they say.
    let own = bus_options::credentials(&config)?.filter(|_| roles.compute && !roles.orchestrator);
    let wanted = own.as_ref().map_or(args.name.as_str(), |own| own.node_id());
    let (name, ignored) = dir.node_name(wanted, config.text("NameProvider"), &hostname)?;
    if let Some(own) = own.filter(|own| own.node_id() != name || !(args.name.is_empty() || args.name == name))
    {
        let other = if own.node_id() == name { &args.name } else { &name };
        return Err(fail(format!(
            "Compute.Auth.Credentials are for node {}, and this is node {other}",
            own.node_id()
        ))
        .hint("use the credentials of this node, or another data folder and no --name")
        .into());
    }
    if ignored {
        tracing::warn!("--name {} is ignored: this data folder belongs to node {name}", args.name);
    }
    tracing::info!("Starting bacalhau...");
    let mut node = Node::start(&config, &dir, &name, roles, Some(reread(context))).await?;
    let note = RunNote::write(dir.path(), node.api_addr());
    tracing::info!(node = name, api = %node.api_addr(), "bacalhau node running");
    let mut stop = std::pin::pin!(told_to_stop());
    // Without certificates a hangup ends the process, as its terminal's user expects.
    let reloads = bus_options::nats_tls(&config).is_some();
    let mut hangup = reloads.then(|| signal(SignalKind::hangup()).ok()).flatten();
    let ended = loop {
        tokio::select! {
            result = node.failed() => break result,
            () = &mut stop => break Ok(()),
            () = told_to_reload(hangup.as_mut()) => node.reload_certificates(),
        }
    };
    tracing::info!("bacalhau node shutting down...");
    node.shutdown().await;
    drop(note);
    Ok(ended?)
}

/// Reads the orchestrators' addresses and tokens again, from the same flags, environment and files.
fn reread(context: &Context) -> Reread {
    let (global, items) = (context.global.clone(), context.config_items.clone());
    let environment = context.environment.clone();
    Reread::new(move || {
        let settings = Settings::load(&global, &items, &environment)?;
        bus_options::orchestrators(settings.config())
    })
}

/// Completes on SIGHUP.
async fn told_to_reload(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Completes on SIGINT or SIGTERM.
pub(crate) async fn told_to_stop() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => {
            tracing::warn!("signals cannot be watched: only a kill ends this process");
            std::future::pending::<()>().await;
        }
    }
}

/// `bacalhau.run`: tells shells how to reach the server, while it runs.
struct RunNote(PathBuf);

impl RunNote {
    fn write(dir: &Path, api: std::net::SocketAddr) -> RunNote {
        let path = dir.join("bacalhau.run");
        let text =
            format!("export BACALHAU_API_HOST={}\nexport BACALHAU_API_PORT={}\n", api.ip(), api.port());
        if let Err(error) = std::fs::write(&path, text) {
            tracing::warn!(%error, "{} could not be written", path.display());
        }
        RunNote(path)
    }
}

impl Drop for RunNote {
    fn drop(&mut self) {
        // It may be gone already; a stale one does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
