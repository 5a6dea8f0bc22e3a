//! The runtime's configuration of one container (`config.json` of the OCI runtime specification). Pure.

use super::devices::Devices;
use super::seccomp;
use super::user::User;
use crate::engines::container::LEAST_MEMORY;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What root may do inside, as with Docker: enough for package managers and servers, nothing about the machine.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Hidden: they tell of the machine or of its kernel's memory.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Readable only: writing there changes the machine.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Length of the scheduler's periods, in microseconds: the kernel's own.
const CPU_PERIOD: u64 = 100_000;

/// The least quota that the kernel takes, in microseconds.
const LEAST_QUOTA: i64 = 1_000;

/// Which network a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NetworkSpace {
    /// That of the host.
    Host,
    /// A new one with nothing but a loopback, which the runtime makes.
    Empty,
    /// One that is prepared.
    Prepared(PathBuf),
}

/// Something of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// Everything that differs from container to container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) root: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) user: User,
    pub(super) hostname: String,
    pub(super) binds: Vec<Bind>,
    pub(super) devices: Devices,
    pub(super) network: NetworkSpace,
    /// Path below the cgroup root.
    pub(super) cgroup: String,
    /// Cores; 0 is no limit.
    pub(super) cpu: f64,
    /// Bytes; 0 is no limit.
    pub(super) memory: u64,
    /// Swap is counted by the kernel, so memory and swap together can be limited.
    pub(super) limit_swap: bool,
    /// Processes and threads; 0 is no limit.
    pub(super) pids: i64,
    /// The machine has cgroup v2 alone.
    pub(super) cgroup_v2: bool,
}

impl Container {
    /// The text of `config.json`.
    pub(super) fn config(&self) -> Value {
        let is_root = self.user.uid == 0;
        // A user without rights gets none from his programs either.
        let own: &[&str] = if is_root { &CAPABILITIES } else { &[] };
        json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname,
            "root": {"path": self.root, "readonly": false},
            "process": {
                "terminal": false,
                "user": {"uid": self.user.uid, "gid": self.user.gid, "additionalGids": self.user.groups},
                "args": self.args,
                "env": self.env,
                "cwd": self.cwd,
                "capabilities": {"bounding": CAPABILITIES, "effective": own, "permitted": own},
                "noNewPrivileges": true,
                "oomScoreAdj": 0,
            },
            "mounts": self.mounts(),
            "hooks": self.devices.hooks,
            "linux": {
                "devices": self.devices.to_make(),
                "namespaces": self.namespaces(),
                "cgroupsPath": self.cgroup,
                "resources": self.resources(),
                "seccomp": seccomp::profile(),
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                "sysctl": self.sysctl(),
            },
        })
    }

    fn namespaces(&self) -> Vec<Value> {
        let mut all: Vec<Value> = ["pid", "ipc", "uts", "mount"].map(|kind| json!({"type": kind})).into();
        match &self.network {
            NetworkSpace::Host => {}
            NetworkSpace::Empty => all.push(json!({"type": "network"})),
            NetworkSpace::Prepared(path) => all.push(json!({"type": "network", "path": path})),
        }
        if self.cgroup_v2 {
            all.push(json!({"type": "cgroup"}));
        }
        all
    }

    /// In a network of its own every user may have every port, and ping.
    fn sysctl(&self) -> Value {
        match self.network {
            NetworkSpace::Host => json!({}),
            _ => {
                json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"})
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn resources(&self) -> Value {
        let mut resources = Map::new();
        // What every container has, such as /dev/null, the runtime adds itself.
        let mut devices = vec![json!({"allow": false, "access": "rwm"})];
        devices.extend(self.devices.allowed());
        resources.insert("devices".to_owned(), Value::Array(devices));
        if self.pids > 0 {
            resources.insert("pids".to_owned(), json!({"limit": self.pids}));
        }
        if self.cpu > 0.0 {
            let quota = ((self.cpu * CPU_PERIOD as f64).round() as i64).max(LEAST_QUOTA);
            let shares = ((self.cpu * 1024.0).round() as u64).clamp(2, 262_144);
            let cpu = json!({"shares": shares, "quota": quota, "period": CPU_PERIOD});
            resources.insert("cpu".to_owned(), cpu);
        }
        if self.memory > 0 {
            let limit = i64::try_from(self.memory.max(LEAST_MEMORY)).unwrap_or(i64::MAX);
            // Memory and swap together: no swap beyond the memory.
            let memory = if self.limit_swap {
                json!({"limit": limit, "swap": limit})
            } else {
                json!({"limit": limit})
            };
            resources.insert("memory".to_owned(), memory);
        }
        Value::Object(resources)
    }

    fn mounts(&self) -> Vec<Value> {
        let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
        let host_network = self.network == NetworkSpace::Host;
        let mut all = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            if host_network {
                // A sysfs of its own would need a network of its own.
                mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
            } else {
                mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
            },
        ];
        all.push(mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ));
        all.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
        let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
        all.push(mount("/dev/shm", "tmpfs", "shm", &shm));
        // Outer folders first, so that what is mounted inside of them stays visible.
        let mut binds: Vec<&Bind> = self.binds.iter().collect();
        binds.sort_by_key(|bind| bind.target.split('/').count());
        for bind in binds {
            let access = if bind.read_only { "ro" } else { "rw" };
            let source = bind.source.to_string_lossy();
            all.push(mount(&bind.target, "bind", &source, &["rbind", "rprivate", access]));
        }
        all
    }
}

/// Where things of one container are below its private folder.
pub(super) struct Layout {
    pub(super) folder: PathBuf,
}

impl Layout {
    pub(super) fn new(folder: &Path) -> Layout {
        Layout { folder: folder.to_owned() }
    }

    /// What the container sees as `/`.
    pub(super) fn merged(&self) -> PathBuf {
        self.folder.join("merged")
    }

    /// What it changes.
    pub(super) fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// overlayfs's own.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Files that are made for it.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The process ID of its first process, written by the runtime.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// What the runtime has to say.
    pub(super) fn runtime_log(&self) -> PathBuf {
        self.folder.join("runtime.log")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn container() -> Container {
        Container {
            root: "/r".into(),
            args: vec!["sh".into()],
            env: vec!["A=1".into()],
            cwd: "/".into(),
            user: User::default(),
            hostname: "h".into(),
            binds: Vec::new(),
            devices: Devices::default(),
            network: NetworkSpace::Empty,
            cgroup: "/a/b".into(),
            cpu: 0.5,
            memory: 64 << 20,
            limit_swap: true,
            pids: 100,
            cgroup_v2: false,
        }
    }

    #[test]
    fn it_is_what_the_specification_says() {
        let mut made = container();
        made.network = NetworkSpace::Prepared("/proc/1/fd/3".into());
        made.binds = vec![Bind { source: "/s".into(), target: "/t".into(), read_only: true }];
        let spec: oci_spec::runtime::Spec = serde_json::from_value(made.config()).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let resources = linux.resources().as_ref().unwrap();
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.period(), cpu.shares()), (Some(50_000), Some(100_000), Some(512)));
        let memory = resources.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 100);
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 5);
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(process.capabilities().as_ref().unwrap().effective().as_ref().unwrap().len(), 14);
        let bind = spec.mounts().as_ref().unwrap().last().unwrap();
        assert!(bind.options().as_ref().unwrap().contains(&"ro".to_owned()));
    }

    #[test]
    fn users_without_rights_and_no_limits() {
        let mut made = container();
        made.user = User { uid: 7, ..User::default() };
        (made.cpu, made.memory) = (0.0, 0);
        made.network = NetworkSpace::Host;
        let config = made.config();
        assert_eq!(config["process"]["capabilities"]["effective"], json!([]));
        assert_eq!(config["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert!(config["linux"]["resources"].get("cpu").is_none());
        assert!(config["linux"]["resources"].get("memory").is_none());
        assert_eq!(config["linux"]["sysctl"], json!({}));
        made.cpu = 0.000_1;
        assert_eq!(made.config()["linux"]["resources"]["cpu"]["quota"], json!(1000));
    }

    #[test]
    fn inner_folders_are_mounted_after_outer_ones() {
        let mut made = container();
        let bind = |target: &str| Bind { source: "/s".into(), target: target.into(), read_only: false };
        made.binds = vec![bind("/a/b/c"), bind("/a"), bind("/a/b")];
        let config = made.config();
        let targets: Vec<&str> =
            config["mounts"].as_array().unwrap().iter().filter_map(|m| m["destination"].as_str()).collect();
        assert!(targets.ends_with(&["/a", "/a/b", "/a/b/c"]));
    }
}
