//! Everything that is made before a container runs: its image, its root, its files, its network, its configuration.

use super::bundle::{Bind, Container, Layout, NetworkSpace};
use super::devices::{DeviceRoots, Devices};
use super::network::{self, Network};
use super::rootfs::{self, Mounted};
use super::{Shared, error, etc_files, user};
use crate::engines::container::Params;
use crate::engines::{EngineRequest, Progress, supervisor};
use crate::executor::WorkFolder;
use crate::sources::MountData;
use bacalhau_images::{Image, Reference, Root, pinned};
use bacalhau_model::network::NetworkType;
use bacalhau_model::resources::Gpu;
use bacalhau_model::{Error, Execution};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Where everything is below the folder of an execution.
pub(super) const FOLDER: &str = "root/oci";

/// Bytes of `passwd` and `group` that are read.
const LARGEST_LIST: u64 = 1 << 20;

/// A container that can be started. Dropped, it takes its root and its network with it.
pub(super) struct Prepared {
    pub(super) layout: Layout,
    pub(super) network: Network,
    pub(super) mounted: Mounted,
    /// Its layers must stay until it is unmounted.
    pub(super) image: Image,
    /// The folder of all this can only be removed when nothing is mounted there any more.
    pub(super) work: Arc<WorkFolder>,
}

impl Prepared {
    /// Takes it all down and waits for that.
    pub(super) async fn discard(self) {
        let Prepared { network, mounted, image, work, .. } = self;
        network.close().await;
        // Unmounting blocks.
        let _ = tokio::task::spawn_blocking(move || drop((mounted, image, work))).await;
    }
}

/// The image that an execution runs.
pub(super) fn image_name(params: &Params, execution: &Execution) -> Reference {
    match &execution.job {
        Some(job) => pinned(params.image.clone(), job),
        None => params.image.clone(),
    }
}

/// Fetches the image, telling how far it is.
pub(super) async fn fetch(shared: &Shared, image: &Reference, progress: &Progress) -> Result<Image, Error> {
    if let Some(found) = shared.images()?.cached(image) {
        return Ok(found);
    }
    progress.preparing(format!("Pulling image \"{image}\""));
    // Told at most ten times: the history is for people.
    let told = Mutex::new(0);
    let tell = |came: u64, all: u64| {
        let tenth = came.saturating_mul(10).checked_div(all).unwrap_or(0);
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if tenth > *told && tenth < 10 {
            *told = tenth;
            progress.preparing(format!("Pulling image \"{image}\": {}%", tenth.saturating_mul(10)));
        }
    };
    let fetched = shared.images()?.get(shared.registry()?, image, &tell).await?;
    progress.preparing(format!("Pulled image \"{image}\""));
    Ok(fetched)
}

/// Makes everything else.
pub(super) async fn prepare(
    shared: &Shared,
    request: &EngineRequest,
    params: &Params,
    image: Image,
) -> Result<Prepared, Error> {
    let explain = |e: io::Error| error(format!("cannot prepare the container: {e}")).retryable();
    let folder = request.work.create(FOLDER).map_err(explain)?;
    let network = network::set_up(request, &shared.bridge).await?;
    let id = &request.execution.id;
    let hostname: String = id.chars().take(10).filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let plan = Plan {
        layout: Layout::new(&folder),
        image: image.clone(),
        work: Arc::clone(&request.work),
        hostname: hostname.trim_matches('-').to_owned(),
        address: network.address,
        host: network.host,
        host_network: matches!(request.network.r#type, NetworkType::Host | NetworkType::Full),
        binds: inputs_and_results(request),
        gpus: gpus(request)?,
        roots: shared.config.devices.clone(),
    };
    let hostname = plan.hostname.clone();
    let laid_out = tokio::task::spawn_blocking(move || plan.lay_out()).await;
    let laid_out = laid_out.map_err(|e| error(format!("preparing the container broke down: {e}")))??;
    let LaidOut { layout, mounted, mut user, mut binds, devices, .. } = laid_out;
    user.groups.extend(&devices.groups);
    binds.extend(devices.binds.iter().cloned());

    let mut task_env = request.env.clone();
    task_env.extend(network.env.iter().cloned());
    let mut env = params.environment(&image.config, &task_env);
    for (name, value) in [("HOME", user.home.as_str()), ("HOSTNAME", hostname.as_str())] {
        if !env.iter().any(|known| known.split_once('=').is_some_and(|(key, _)| key == name)) {
            env.push(format!("{name}={value}"));
        }
    }
    // The last of a name counts.
    env.extend(devices.env.iter().cloned());
    let container = Container {
        root: layout.merged(),
        args: params.command(&image.config),
        env,
        cwd: params.working_directory(&image.config),
        user,
        hostname,
        binds,
        devices,
        network: match network.namespace() {
            // Held by the supervisor, so that it outlives the node.
            Some(_) => NetworkSpace::Prepared(shared.kept(id).join(supervisor::NAMESPACE)),
            None => network.space.clone(),
        },
        cgroup: shared.cgroup_of_program(id),
        cpu: request.resources.cpu,
        memory: request.resources.memory,
        limit_swap: shared.machine.counts_swap(),
        pids: shared.config.pids_limit,
        cgroup_v2: shared.machine.only_v2(),
    };
    if container.args.is_empty() {
        return Err(error(format!("image \"{}\" says no command, and the job neither", params.image))
            .hint("Set Entrypoint or Parameters"));
    }
    let (path, text) = (layout.folder.join("config.json"), container.config().to_string());
    tokio::fs::write(path, text).await.map_err(explain)?;
    Ok(Prepared { layout, network, mounted, image, work: Arc::clone(&request.work) })
}

/// What happens on the disk.
struct Plan {
    layout: Layout,
    image: Image,
    work: Arc<WorkFolder>,
    hostname: String,
    address: Option<std::net::IpAddr>,
    host: Option<std::net::IpAddr>,
    host_network: bool,
    binds: Vec<Wanted>,
    gpus: Vec<Gpu>,
    roots: DeviceRoots,
}

struct LaidOut {
    mounted: Mounted,
    layout: Layout,
    _image: Image,
    _work: Arc<WorkFolder>,
    user: user::User,
    binds: Vec<Bind>,
    devices: Devices,
}

/// An input or a result; what is in memory has yet to be written.
enum Wanted {
    There(Bind),
    Bytes(bytes::Bytes, String, bool),
}

impl Plan {
    fn lay_out(self) -> Result<LaidOut, Error> {
        let explain = |e: io::Error| {
            error(format!("cannot lay out the container's files: {e}"))
                .hint("The node's data folder must be on a file system that overlayfs can use, such as ext4 or xfs")
                .retryable()
        };
        let layout = self.layout;
        let devices = Devices::of(&self.gpus, &self.roots)?;
        let mounted = rootfs::assemble(&self.image.layers, &layout).map_err(explain)?;
        let root = Root::open(&layout.merged()).map_err(explain)?;
        let list = |path: &str| -> Result<String, Error> {
            let bytes = root.read(path, LARGEST_LIST).map_err(explain)?;
            Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        let user = user::find(&self.image.config.user, &list("etc/passwd")?, &list("etc/group")?)
            .map_err(|who| error(format!("the image wants to be run as {who}")))?;
        let names = etc_files::Names {
            hostname: &self.hostname,
            address: self.address,
            host: self.host,
            host_network: self.host_network,
        };
        let mut binds = etc_files::write(&layout, &names).map_err(explain)?;
        let folder = layout.folder.join("inputs");
        DirBuilder::new().mode(0o755).create(&folder).map_err(explain)?;
        for (number, wanted) in self.binds.into_iter().enumerate() {
            binds.push(match wanted {
                Wanted::There(bind) => bind,
                Wanted::Bytes(bytes, target, read_only) => {
                    let source = folder.join(number.to_string());
                    fs::write(&source, &bytes).map_err(explain)?;
                    Bind { source, target, read_only }
                }
            });
        }
        // What the job mounts over one of ours wins.
        let targets: Vec<String> = binds.iter().map(|bind| bind.target.clone()).collect();
        let mut number = 0;
        binds.retain(|bind| {
            number += 1;
            !targets.iter().skip(number).any(|later| *later == bind.target)
        });
        Ok(LaidOut { mounted, layout, _image: self.image, _work: self.work, user, binds, devices })
    }
}

/// The GPUs that were picked for it.
fn gpus(request: &EngineRequest) -> Result<Vec<Gpu>, Error> {
    let (asked, gpus) = (request.resources.gpu, &request.resources.gpus);
    if asked > gpus.len() as u64 {
        let message =
            format!("{asked} GPUs are set aside for the task, and the node can name {}", gpus.len());
        return Err(
            error(message).hint("The node found no tool of the GPUs' vendor; see docs/compute-node.md")
        );
    }
    Ok(gpus.clone())
}

fn inputs_and_results(request: &EngineRequest) -> Vec<Wanted> {
    let inputs = request.mounts.iter().map(|mount| match &mount.data {
        MountData::Folder(path) | MountData::File(path) => Wanted::There(Bind {
            source: path.clone(),
            target: mount.target.clone(),
            read_only: mount.read_only,
        }),
        MountData::Bytes(bytes) => Wanted::Bytes(bytes.clone(), mount.target.clone(), mount.read_only),
    });
    let results = request.results.iter().map(|result| {
        Wanted::There(Bind {
            source: result.host_path.clone(),
            target: result.path.clone(),
            read_only: false,
        })
    });
    inputs.chain(results).collect()
}
