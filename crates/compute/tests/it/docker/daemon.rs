//! Real Docker daemons of the tests' own, each in a temporary folder with its own bridge and control groups.
//!
//! A guard process holds each: it ends the daemon, and everything that ran under it, when the test process is gone,
//! however that ended.

use bollard::Docker;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Programs without which these tests are skipped.
const NEEDED: [&str; 4] = ["dockerd", "containerd", "busybox", "ip"];

/// Runs a daemon until its standard input ends. Arguments: its folder, its control group, its bridge (`none` for no
/// networks) with the address of that, and options for the daemon.
const GUARD: &str = r#"
dir=$1 group=$2 bridge=$3 address=$4
shift 4
if [ "$bridge" != none ]; then
    ip link add name "$bridge" type bridge && ip addr add "$address" dev "$bridge" && ip link set "$bridge" up
fi
dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" -H "unix://$dir/docker.sock" \
    --cgroup-parent "/$group" --bridge "$bridge" "$@" >>"$dir/log" 2>&1 </dev/null &
daemon=$!
cat >/dev/null
contained() {
    cat /sys/fs/cgroup/*/"$group"/*/cgroup.procs /sys/fs/cgroup/"$group"/*/cgroup.procs 2>/dev/null | sort -u
}
# The daemon would wait for those that do not listen.
kill -9 $(contained) 2>/dev/null
kill -s CONT $daemon 2>/dev/null
kill $daemon 2>/dev/null
wait $daemon
# What a daemon that was killed has left running, and what one that a test started again runs.
for try in 1 2 3 4 5 6 7 8 9 10; do
    left=""
    for process in /proc/[0-9]*; do
        id=${process#/proc/}
        [ "$id" != $$ ] && tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF "$dir/" && left="$left $id"
    done
    left="$left $(contained)"
    [ -z "${left# }" ] && break
    kill -9 $left 2>/dev/null
    sleep 0.2
done
[ "$bridge" != none ] && ip link del "$bridge"
grep -oE " $dir/[^ ]*" /proc/self/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
for folder in /sys/fs/cgroup/*/"$group" /sys/fs/cgroup/"$group"; do
    [ -d "$folder" ] && find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null
done
rm -rf "$dir"
"#;

/// A daemon.
pub(crate) struct Daemon {
    pub(crate) docker: Docker,
    pub(crate) host: String,
    dir: PathBuf,
    group: String,
    options: Vec<String>,
    // Dropped, it tells the guard that the end has come.
    _guard: ChildStdin,
    _process: Child,
    /// The daemon that was started again, reaped by whoever reaps orphans.
    again: Mutex<Option<Child>>,
}

/// The daemon that most tests share, and the right to use it: not all at once, because containers are heavy.
pub(crate) struct Shared {
    pub(crate) daemon: &'static Daemon,
    _permit: SemaphorePermit<'static>,
}

impl std::ops::Deref for Shared {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        self.daemon
    }
}

/// The shared daemon with the image `busybox`. `None`, said aloud, where Docker is not installed.
pub(crate) async fn shared() -> Option<Shared> {
    static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
    static TURNS: Semaphore = Semaphore::const_new(3);
    if !is_installed() {
        return None;
    }
    let permit = TURNS.acquire().await.unwrap();
    let daemon = DAEMON
        .get_or_init(|| async {
            let number = std::process::id() % 200;
            let address = format!("10.219.{number}.1/24");
            let bridge = format!("bac-t{}", std::process::id());
            let pool = format!("base=10.{}.0.0/16,size=28", 30 + number);
            let options = ["--default-address-pool".to_owned(), pool];
            let daemon = Daemon::start("shared", &bridge, &address, &options).await;
            daemon.image(&super::images::busybox()).await;
            daemon
        })
        .await;
    Some(Shared { daemon, _permit: permit })
}

/// Whether everything is installed that these tests need.
pub(crate) fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let missing: Vec<_> = NEEDED.iter().filter(|name| which(name).is_none()).collect();
        let root = rustix::process::geteuid().is_root();
        if !missing.is_empty() || !root {
            say(&format!("SKIPPED: tests of the docker engine need root and {NEEDED:?}; root: {root}, missing: {missing:?}"));
        }
        missing.is_empty() && root
    })
}

/// Says something past the test harness, which would swallow it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    folders.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub(crate) async fn start(name: &str, bridge: &str, address: &str, options: &[String]) -> Daemon {
        let dir = tempfile::Builder::new().prefix(&format!("bac-docker-{name}-")).tempdir().unwrap().keep();
        let group = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let mut process = Command::new("sh")
            .args(["-c", GUARD, "guard", dir.to_str().unwrap(), &group, bridge, address])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let guard = process.stdin.take().unwrap();
        let path = dir.join("docker.sock").to_str().unwrap().to_owned();
        let host = format!("unix://{path}");
        let docker = answering(&path, &dir).await;
        let mut options = options.to_vec();
        options.extend(["--bridge".to_owned(), bridge.to_owned()]);
        Daemon {
            docker,
            host,
            dir,
            group,
            options,
            _guard: guard,
            _process: process,
            again: Mutex::default(),
        }
    }

    /// One without networks, for tests that kill it.
    pub(crate) async fn alone(name: &str, options: &[&str]) -> Daemon {
        let mut all = vec!["--iptables=false".to_owned(), "--ip6tables=false".to_owned()];
        all.extend(options.iter().map(|o| (*o).to_owned()));
        let daemon = Daemon::start(name, "none", "", &all).await;
        daemon.image(&super::images::busybox()).await;
        daemon
    }

    /// Loads an image.
    pub(crate) async fn image(&self, archive: &[u8]) {
        use futures_util::TryStreamExt;
        let options = bollard::query_parameters::ImportImageOptions::default();
        let body = bollard::body_full(archive.to_vec().into());
        let loaded = self.docker.import_image(options, body, None).try_collect::<Vec<_>>().await.unwrap();
        assert!(format!("{loaded:?}").contains("Loaded image"), "{loaded:?}");
    }

    /// Ends the daemon without warning. Its containerd dies with it; where nobody reaps orphans, both stay as zombies, and
    /// a daemon that starts again must not take those for living ones.
    pub(crate) fn kill(&self) {
        let files = [self.dir.join("pid"), self.dir.join("exec/containerd/containerd.pid")];
        let ids = files.each_ref().map(|file| std::fs::read_to_string(file).unwrap().trim().to_owned());
        assert!(Command::new("kill").args(["-9", &ids[0]]).status().unwrap().success());
        for (id, file) in ids.iter().zip(&files) {
            while std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Ends the daemon as the machine's shutdown does: it ends its containers first.
    #[allow(dead_code)] // for those who share this file
    pub(crate) fn stop(&self) {
        let files = [self.dir.join("pid"), self.dir.join("exec/containerd/containerd.pid")];
        self.signal("TERM");
        while files.iter().any(|file| file.exists()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = std::fs::read_to_string(self.dir.join("pid")).unwrap();
        assert!(Command::new("kill").args(["-s", name, id.trim()]).status().unwrap().success());
    }

    /// Starts it again.
    pub(crate) async fn start_again(&self) {
        let log = std::fs::OpenOptions::new().append(true).open(self.dir.join("log")).unwrap();
        (&log).write_all(b"\n--- started again ---\n").unwrap();
        let flag =
            |name: &str, path: &str| [name.to_owned(), self.dir.join(path).to_str().unwrap().to_owned()];
        let again = Command::new("dockerd")
            .args(
                [flag("--data-root", "data"), flag("--exec-root", "exec"), flag("--pidfile", "pid")].concat(),
            )
            .args(["-H", &self.host, "--cgroup-parent", &format!("/{}", self.group)])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.again.lock().unwrap() = Some(again);
        answering(self.host.strip_prefix("unix://").unwrap(), &self.dir).await;
    }

    /// Names of the containers and networks that carry any of our labels with this node's ID.
    pub(crate) async fn leftovers(&self, node_id: &str) -> Vec<String> {
        let filter = [("label".to_owned(), vec![format!("bacalhau-executor=bacalhau-{node_id}")])].into();
        let options =
            bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).filters(&filter);
        let containers = self.docker.list_containers(Some(options.build())).await.unwrap();
        let options = bollard::query_parameters::ListNetworksOptionsBuilder::new().filters(&filter);
        let networks = self.docker.list_networks(Some(options.build())).await.unwrap();
        let containers = containers.into_iter().flat_map(|c| c.names.unwrap_or_default());
        containers.chain(networks.into_iter().filter_map(|n| n.name)).collect()
    }
}

/// A connection to a daemon that starts.
async fn answering(path: &str, dir: &Path) -> Docker {
    let waiting = async {
        loop {
            // The socket is there before anybody listens on it.
            if let Ok(docker) = Docker::connect_with_unix(path, 300, bollard::API_DEFAULT_VERSION)
                && let Ok(docker) = docker.negotiate_version().await
            {
                return docker;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| {
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        panic!("dockerd does not start: {log}")
    })
}
