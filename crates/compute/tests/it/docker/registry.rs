//! Real registries on loopback.

use super::daemon::{Daemon, say, which};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder};
use futures_util::TryStreamExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whom the private registry lets in. Base64 of the JSON around this password has both letters that are different in
/// the alphabet for URLs.
pub(super) const USER: &str = "me";
pub(super) const PASSWORD: &str = "s3cret?~";
const HTPASSWD: &str = "me:$2b$04$7f5Ioyf4DI5YZ9VLoSYhqelYtlwXgU6pIAJVqaIbFylql/PUK5vdi\n";

/// A registry. Ends when dropped.
pub(super) struct Registry {
    pub(super) address: String,
    private: bool,
    process: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts one. `None`, said aloud, where the program is not installed.
    pub(super) async fn start(private: bool) -> Option<Registry> {
        let Some(program) = which("docker-registry").or_else(|| which("registry")) else {
            say("SKIPPED: tests with a registry need Debian's docker-registry");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", crate::test_registry::free_port());
        let folder = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n\
             http: {{addr: '{address}'}}\n"
        );
        if private {
            std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n");
        }
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry { address, private, process, _dir: dir };
        while tokio::net::TcpStream::connect(&registry.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(registry)
    }

    /// The full name of an image here.
    pub(super) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Loads an archive with this name and tag, pushes it, and removes it from the daemon. Gives its digest.
    pub(super) async fn push(&self, daemon: &Daemon, image: &str, tag: &str, archive: &[u8]) -> String {
        daemon.image(archive).await;
        let name = self.name(image);
        let options = TagImageOptionsBuilder::new().repo(&name).tag(tag).build();
        daemon.docker.tag_image(&format!("{image}:{tag}"), Some(options)).await.unwrap();
        let credentials = self.private.then(|| DockerCredentials {
            username: Some(USER.into()),
            password: Some(PASSWORD.into()),
            ..DockerCredentials::default()
        });
        // As in the engine: bollard's header is not in the alphabet that Docker reads.
        let daemon_docker = daemon.docker.clone().with_request_modifier(|mut request| {
            if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
                *value = value.to_str().unwrap().replace('+', "-").replace('/', "_").parse().unwrap();
            }
            request
        });
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let told = daemon_docker.push_image(&name, Some(options), credentials);
        let told = told.try_collect::<Vec<_>>().await.unwrap();
        let told = format!("{told:?}");
        let at = told.find("sha256:").expect(&told);
        let digest = told[at..at + 71].to_owned();
        for tagged in [format!("{name}:{tag}"), format!("{image}:{tag}")] {
            daemon.docker.remove_image(&tagged, None::<RemoveImageOptions>, None).await.unwrap();
        }
        digest
    }
}
