//! A small cluster in one process, for trying things out and for tests.

use super::node::{Node, Roles};
use super::{logging, told_to_stop};
use crate::cli::Global;
use crate::commands::devstack::DevstackArgs;
use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::settings::Settings;
use bacalhau_config::{Config, DataDir, Value, validate};
use bacalhau_model::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First ports; node i takes the i-th after these.
const FIRST_API: u16 = 1234;
const FIRST_NATS: u16 = 4222;

/// Runs a small cluster until it is told to stop.
pub(crate) async fn run_devstack(context: &Context, args: DevstackArgs) -> Outcome {
    let nodes = plan(&args)?;
    let folder = Folder::new(args.stack_repo.as_deref())?;
    let base = base_config(context, &folder.path)?;
    logging::start(&base);
    validate::validate(&base)?;
    let mut running = Vec::new();
    let mut orchestrators: Vec<String> = Vec::new();
    for (index, roles) in nodes.into_iter().enumerate() {
        let name = format!("node-{index}");
        let config = node_config(&base, &folder.path, index, &orchestrators, args.random_ports)?;
        let mut dir = DataDir::open(&config)?;
        dir.node_name(&name, "puuid", "")?;
        let node = Node::start(&config, &dir, &name, roles, None).await?;
        orchestrators.extend(node.nats_addr().map(|addr| format!("127.0.0.1:{}", addr.port())));
        running.push((node, roles));
    }
    tell(context, &args, &running)?;
    told_to_stop().await;
    context.out.line("\nShutting down devstack")?;
    for (node, _) in running.into_iter().rev() {
        node.shutdown().await;
    }
    Ok(())
}

/// Orchestrators first, so that the others find them.
fn plan(args: &DevstackArgs) -> Result<Vec<Roles>, Error> {
    let wrong = |text: &str| fail(format!("validating devstack config: {text}"));
    if args.orchestrators + args.computes + args.hybrids == 0 {
        return Err(wrong("you cannot create a devstack with zero nodes"));
    }
    if args.orchestrators + args.hybrids == 0 {
        return Err(wrong("cannot add compute node: no orchestrators found in the existing devstack"));
    }
    if args.orchestrators + args.hybrids > 1 {
        return Err(wrong(
            "more than one orchestrator is not supported by this version: each would be alone",
        )
        .hint("--hybrids 1 needs --orchestrators 0 beside it"));
    }
    if args.bad_computes > 0 {
        return Err(wrong("--bad-computes is not supported by this version"));
    }
    // Its data is gone with it, so nothing may go on without it.
    let roles = |orchestrator, compute| Roles { orchestrator, compute, comes_back: false };
    let times = |count: u32, roles: Roles| (0..count).map(move |_| roles);
    Ok(times(args.orchestrators, roles(true, false))
        .chain(times(args.hybrids, roles(true, true)))
        .chain(times(args.computes, roles(false, true)))
        .collect())
}

/// The user's flags and environment on a data folder of the stack's own: the user's configuration file is not read.
fn base_config(context: &Context, folder: &Path) -> Result<Config, Error> {
    let own = context.global.data_dir.clone().unwrap_or_else(|| folder.display().to_string());
    let global = Global { data_dir: Some(own), ..context.global.clone() };
    let settings = Settings::load(&global, &context.config_items, &context.environment)?;
    let mut config = settings.config().clone();
    let mut prefer = |path: &str, value: Value| {
        if !config.is_set(path) {
            config.set(path, value);
        }
    };
    prefer("Orchestrator.NodeManager.DisconnectTimeout", Value::Duration(Duration::from_secs(30)));
    prefer("Compute.Heartbeat.Interval", Value::Duration(Duration::from_secs(5)));
    prefer("Compute.Env.AllowList", Value::List(vec!["TEST_*".to_owned()]));
    prefer("API.Host", Value::Text("127.0.0.1".to_owned()));
    prefer("Orchestrator.Host", Value::Text("127.0.0.1".to_owned()));
    prefer("Logging.Level", Value::Text("warn".to_owned()));
    Ok(config)
}

fn node_config(
    base: &Config,
    folder: &Path,
    index: usize,
    orchestrators: &[String],
    random_ports: bool,
) -> Result<Config, Error> {
    let mut config = base.clone();
    let dir = folder.join(format!("node-{index}"));
    config.set("DataDir", Value::Text(dir.display().to_string()));
    let port = |first: u16| match random_ports {
        true => 0,
        false => i64::from(first) + i64::try_from(index).unwrap_or(0),
    };
    config.set("API.Port", Value::Int(port(FIRST_API)));
    config.set("Orchestrator.Port", Value::Int(port(FIRST_NATS)));
    config.set("Publishers.Types.Local.Port", Value::Int(0));
    if !orchestrators.is_empty() {
        config.set("Compute.Orchestrators", Value::List(orchestrators.to_vec()));
    }
    let token = config.text("Orchestrator.Auth.Token").to_owned();
    config.set("Compute.Auth.Token", Value::Text(token));
    let mut labels = config.map("Labels");
    labels.insert("id".to_owned(), format!("node-{index}"));
    labels.insert("env".to_owned(), "devstack".to_owned());
    config.set("Labels", Value::Map(labels));
    Ok(config)
}

fn tell(context: &Context, args: &DevstackArgs, running: &[(Node, Roles)]) -> Outcome {
    let first = running.iter().find(|(_, roles)| roles.orchestrator).map(|(node, _)| node.api_addr());
    let api = first.unwrap_or(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), FIRST_API));
    let text = format!(
        "\nDevstack is ready!\nNo. of requester only nodes: {}\nNo. of compute only nodes: {}\nNo. of hybrid nodes: {}\nTo use the devstack, run the following commands in your shell:\n\nexport BACALHAU_API_HOST={}\nexport BACALHAU_API_PORT={}\n",
        args.orchestrators,
        args.computes,
        args.hybrids,
        api.ip(),
        api.port()
    );
    context.out.line(&text)
}

/// Where the stack keeps its state; a temporary folder goes with the stack.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn new(wanted: Option<&Path>) -> Result<Folder, Error> {
        let (path, temporary) = match wanted {
            Some(path) => (path.to_owned(), false),
            None => (
                std::env::temp_dir().join(format!("bacalhau-devstack-{}", uuid::Uuid::new_v4().simple())),
                true,
            ),
        };
        std::fs::create_dir_all(&path).map_err(|e| {
            fail(format!("{} cannot be made: {e}", path.display())).hint("Choose a folder with --stack-repo")
        })?;
        let path = path.canonicalize().unwrap_or(path);
        Ok(Folder { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, "{} could not be removed", self.path.display());
        }
    }
}
