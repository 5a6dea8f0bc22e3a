//! A real registry (Debian's `docker-registry`) on the loopback, and a way to put images there.
//!
//! Used by the tests of several crates.

#[path = "../../../wire/tests/support/ports.rs"]
mod ports;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
pub use ports::free_port;
use sha2::Digest as _;
use std::fmt::Write;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; ends with this value, or with the process.
pub struct TestRegistry {
    pub port: u16,
    pub dir: tempfile::TempDir,
    guard: Child,
    auth: RegistryAuth,
}

/// One layer to push.
pub struct Layer {
    pub media_type: &'static str,
    pub blob: Vec<u8>,
    /// Digest of what it unpacks to.
    pub diff_id: String,
}

pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

pub fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

impl TestRegistry {
    /// `None`, said aloud, where it is not installed.
    pub fn start() -> Option<TestRegistry> {
        TestRegistry::start_with(None)
    }

    /// With a name and a password that it wants.
    pub fn start_with(login: Option<(&str, &str)>) -> Option<TestRegistry> {
        if !is_installed("docker-registry") {
            eprintln!("SKIPPED: docker-registry is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.path().join("data").display()
        );
        let mut auth = RegistryAuth::Anonymous;
        if let Some((name, password)) = login {
            let file = dir.path().join("htpasswd");
            std::fs::write(&file, format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())).unwrap();
            write!(config, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()).unwrap();
            auth = RegistryAuth::Basic(name.to_owned(), password.to_owned());
        }
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        // The shell ends the registry when this process is gone, however it went.
        let guard = Command::new("sh")
            .args([
                "-c",
                r#"docker-registry serve "$0" >/dev/null 2>&1 & read -r _; kill $!; wait $! 2>/dev/null"#,
            ])
            .arg(dir.path().join("config.yml"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(TestRegistry { port, dir, guard, auth })
    }

    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    async fn client(&self, image: &Reference) -> Client {
        let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(config);
        client.auth(image, &self.auth, RegistryOperation::Push).await.unwrap();
        client
    }

    pub async fn push_blob(&self, image: &str, blob: &[u8]) -> String {
        let image: Reference = self.name(image).parse().unwrap();
        let digest = sha256(blob);
        let client = self.client(&image).await;
        client.push_blob(&image, blob.to_vec(), &digest).await.unwrap();
        digest
    }

    /// Gives the digest.
    pub async fn push_manifest(&self, image: &str, media_type: &str, manifest: &str) -> String {
        let image: Reference = self.name(image).parse().unwrap();
        let client = self.client(&image).await;
        let media_type = media_type.parse().unwrap();
        client.push_manifest_raw(&image, manifest.as_bytes().to_vec(), media_type).await.unwrap();
        sha256(manifest.as_bytes())
    }

    /// Pushes an image of these layers with this configuration (`{"Cmd": ...}`); gives its digest.
    pub async fn push(
        &self,
        image: &str,
        architecture: &str,
        config: &serde_json::Value,
        layers: &[Layer],
    ) -> String {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        let config_digest = self.push_blob(image, config.as_bytes()).await;
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.push_blob(image, &layer.blob).await;
            let size = layer.blob.len();
            descriptors
                .push(serde_json::json!({"mediaType": layer.media_type, "digest": digest, "size": size}));
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": descriptors,
        });
        self.push_manifest(image, "application/vnd.oci.image.manifest.v1+json", &manifest.to_string()).await
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        // The end of its standard input tells the shell.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A tar.gz of what `fill` puts in.
pub fn layer(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    layer_of(&builder.into_inner().unwrap())
}

pub fn layer_of(tar: &[u8]) -> Layer {
    let mut blob = Vec::new();
    flate2::read::GzEncoder::new(tar, flate2::Compression::fast()).read_to_end(&mut blob).unwrap();
    Layer { media_type: "application/vnd.oci.image.layer.v1.tar+gzip", blob, diff_id: sha256(tar) }
}

/// Adds an entry with any name and any link target, hostile ones too.
pub fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    name: &str,
    target: &str,
    content: &[u8],
    mode: u32,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    let put = |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
    put(&mut header.as_gnu_mut().unwrap().name, name);
    put(&mut header.as_gnu_mut().unwrap().linkname, target);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

pub fn add_file(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    add(builder, tar::EntryType::Regular, name, "", content, 0o644);
}

/// A root with busybox and what programs expect; `None`, said aloud, where busybox is not installed.
pub fn busybox() -> Option<Layer> {
    let Ok(program) = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox")) else {
        eprintln!("SKIPPED: busybox-static is not installed");
        return None;
    };
    let applets = Command::new("busybox").arg("--list").output().unwrap().stdout;
    Some(layer(|tar| {
        for folder in ["bin", "etc", "tmp", "root", "home", "usr", "var", "proc", "sys", "dev"] {
            let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
            add(tar, tar::EntryType::Directory, folder, "", b"", mode);
        }
        add(tar, tar::EntryType::Regular, "bin/busybox", "", &program, 0o755);
        for applet in String::from_utf8(applets).unwrap().lines().filter(|name| *name != "busybox") {
            add(tar, tar::EntryType::Symlink, &format!("bin/{applet}"), "busybox", b"", 0o777);
        }
        add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001:w:/home:/bin/sh\n");
        add_file(tar, "etc/group", b"root:x:0:\nworkers:x:1001:\nextra:x:1002:worker\n");
    }))
}
