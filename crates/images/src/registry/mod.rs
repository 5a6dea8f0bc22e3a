//! What is asked of registries: what a name stands for, what it consists of, and the bytes.

mod auth;
mod blob;
mod transport;

use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::manifest::{self, Descriptor, ImageConfig, Manifest, Platform};
use crate::{error, reference};
use bacalhau_model::Error;
use bytes::Bytes;
use oci_client::Reference;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::sync::Arc;
use std::time::Duration;
use transport::Transport;

/// Bytes of a manifest at most: what registries take.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// Bytes of an image's configuration at most.
const LARGEST_CONFIG: u64 = 8 << 20;

/// Media types of layers that are WebAssembly modules or components.
const WASM: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// Settings of [`Registry`].
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Registries (`host` or `host:port`) that may be used without a valid certificate or without encryption. Those on
    /// the loopback always may, as with Docker.
    pub insecure: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// What images are chosen for.
    pub platform: Platform,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time without a byte.
    pub read_timeout: Duration,
}

impl Default for RegistryConfig {
    /// Credentials of the environment, this platform, 10 s to connect, 30 s without a byte.
    fn default() -> RegistryConfig {
        RegistryConfig {
            insecure: Vec::new(),
            credentials: Credentials::from_environment(),
            platform: Platform::this(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// Talks to registries. Clones share everything.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    platform: Platform,
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What the name stands for: of the list of manifests, where there is one.
    pub digest: Digest,
    /// Of the manifest for this platform.
    pub manifest_digest: Digest,
    /// That manifest.
    pub manifest: Bytes,
    /// Its configuration as it came.
    pub raw_config: Bytes,
    /// Its configuration.
    pub config: ImageConfig,
    /// Compressed layers, lowest first, and what each of them unpacks to.
    pub layers: Vec<(Descriptor, Digest)>,
}

impl Described {
    /// Compressed bytes of all layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum: u64, (layer, _)| sum.saturating_add(layer.size))
    }
}

/// The one layer of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What its name stands for.
    pub digest: Digest,
    /// Of the layer.
    pub media_type: String,
    /// The layer.
    pub bytes: Bytes,
}

impl Registry {
    /// With these settings.
    ///
    /// # Errors
    /// The HTTP client cannot be set up: the machine's certificates are unusable.
    pub fn new(config: RegistryConfig) -> Result<Registry, Error> {
        let platform = config.platform.clone();
        Ok(Registry { inner: Arc::new(Inner { transport: Transport::new(config)?, platform }) })
    }

    /// What images are chosen for.
    pub fn platform(&self) -> &Platform {
        &self.inner.platform
    }

    /// The digest that a name stands for now: of the list of manifests, where there is one. A name with a digest is
    /// not looked up.
    ///
    /// # Errors
    /// There is none, it may not be seen, or the registry cannot be asked (retryable).
    pub async fn resolve(&self, image: &Reference) -> Result<Digest, Error> {
        if let Some(digest) = image.digest().and_then(Digest::parse) {
            return Ok(digest);
        }
        let path = manifest_path(image);
        let response = self.inner.transport.request(image, Method::HEAD, &path, manifest::ACCEPT).await?;
        match digest_header(response.headers()) {
            Some(digest) => Ok(digest),
            // A registry may leave it out of an answer without a body.
            None => Ok(self.manifest(image).await?.0),
        }
    }

    /// What a name stands for, on this platform.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; it has nothing for this platform; it is damaged or no image.
    pub async fn describe(&self, image: &Reference) -> Result<Described, Error> {
        let name = image.to_string();
        let (digest, manifest_digest, bytes) = self.image_manifest(image).await?;
        let broken = |reason: String| error::broken(&name, reason);
        let Manifest::Image { config, layers } = Manifest::parse(&bytes).map_err(broken)? else {
            return Err(broken("its list of manifests contains another list".to_owned()));
        };
        let raw_config = self.small_blob(image, &config, LARGEST_CONFIG).await?;
        let parsed = ImageConfig::parse(&raw_config).map_err(broken)?;
        let diff_ids = parsed.diff_ids().map_err(broken)?;
        if diff_ids.len() != layers.len() {
            let (here, there) = (layers.len(), diff_ids.len());
            return Err(broken(format!(
                "its manifest has {here} layers and its configuration {there}; is it an artifact?"
            )));
        }
        if !self.platform().runs(&parsed.platform()) {
            return Err(self.wrong_platform(&name, &[parsed.platform()]));
        }
        if let Some(layer) = layers.iter().find(|layer| !is_file_system(&layer.media_type)) {
            return Err(broken(format!(
                "a layer has the type {:?}, which is no file system",
                layer.media_type
            )));
        }
        Ok(Described {
            digest,
            manifest_digest,
            manifest: bytes,
            raw_config,
            config: parsed,
            layers: layers.into_iter().zip(diff_ids).collect(),
        })
    }

    /// The one layer of an artifact, such as a WebAssembly module. Of several layers the one of type
    /// `application/wasm` counts, if there is exactly one.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; it has no such layer; it has more than `max_bytes` bytes.
    pub async fn artifact(&self, image: &Reference, max_bytes: u64) -> Result<Artifact, Error> {
        let name = image.to_string();
        let broken = |reason: String| error::broken(&name, reason);
        let (digest, bytes) = self.manifest(image).await?;
        let layers = match Manifest::parse(&bytes).map_err(broken)? {
            Manifest::Image { layers, .. } => layers,
            Manifest::List(list) => {
                let wasm =
                    Platform { os: "wasip1".into(), architecture: "wasm".into(), variant: String::new() };
                let chosen = match list.as_slice() {
                    [(_, only)] => Some(only),
                    list => wasm
                        .choose(list)
                        .or_else(|| list.iter().find(|(p, _)| p.architecture == "wasm").map(|(_, d)| d)),
                };
                let chosen =
                    chosen.ok_or_else(|| broken("it is a list without one entry for wasm".to_owned()))?;
                match Manifest::parse(&self.manifest_by_digest(image, &chosen.digest).await?)
                    .map_err(broken)?
                {
                    Manifest::Image { layers, .. } => layers,
                    Manifest::List(_) => {
                        return Err(broken("its list of manifests contains another list".to_owned()));
                    }
                }
            }
        };
        let mut wasm = layers.iter().filter(|layer| WASM.contains(&layer.media_type.as_str()));
        let layer = match (layers.as_slice(), wasm.next(), wasm.next()) {
            ([only], _, _) => only,
            (_, Some(found), None) => found,
            _ => {
                return Err(broken(format!(
                    "it is no artifact with one layer of type {}",
                    WASM.join(" or ")
                )));
            }
        };
        let bytes = self.small_blob(image, layer, max_bytes).await?;
        Ok(Artifact { digest, media_type: layer.media_type.clone(), bytes })
    }

    /// The manifest for this platform: digest of the name, digest of the manifest, its bytes.
    async fn image_manifest(&self, image: &Reference) -> Result<(Digest, Digest, Bytes), Error> {
        let name = image.to_string();
        let (digest, bytes) = self.manifest(image).await?;
        let Manifest::List(list) = Manifest::parse(&bytes).map_err(|reason| error::broken(&name, reason))?
        else {
            return Ok((digest.clone(), digest, bytes));
        };
        let Some(chosen) = self.platform().choose(&list) else {
            let platforms: Vec<Platform> = list.into_iter().map(|(platform, _)| platform).collect();
            return Err(self.wrong_platform(&name, &platforms));
        };
        let bytes = self.manifest_by_digest(image, &chosen.digest).await?;
        Ok((digest, chosen.digest.clone(), bytes))
    }

    fn wrong_platform(&self, name: &str, found: &[Platform]) -> Error {
        let found: Vec<String> =
            found.iter().filter(|p| p.os != "unknown").map(ToString::to_string).collect();
        let found = found.join(" ");
        error::broken(name, format!("it is for the platforms [{found}], this node is [{}]", self.platform()))
            .hint("Use an image that is built for this platform, or choose nodes by their labels os_type and os_arch")
            .detail("Image", name)
    }

    async fn manifest_by_digest(&self, image: &Reference, digest: &Digest) -> Result<Bytes, Error> {
        let one = image.clone_with_digest(digest.to_string());
        Ok(self.manifest(&one).await?.1)
    }

    /// What a name stands for, whatever it is.
    async fn manifest(&self, image: &Reference) -> Result<(Digest, Bytes), Error> {
        let name = image.to_string();
        let path = manifest_path(image);
        let response = self.inner.transport.request(image, Method::GET, &path, manifest::ACCEPT).await?;
        let said = digest_header(response.headers());
        let bytes = self.inner.transport.bounded(image, response, LARGEST_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        let wanted = image.digest().and_then(Digest::parse);
        if wanted.or(said).is_some_and(|expected| expected != digest) {
            return Err(
                error::broken(&name, "its manifest does not have the digest it should have").retryable()
            );
        }
        Ok((digest, bytes))
    }

    /// A blob that fits into memory.
    async fn small_blob(&self, image: &Reference, blob: &Descriptor, most: u64) -> Result<Bytes, Error> {
        let name = image.to_string();
        if blob.size > most {
            let reason = format!("it has {} bytes where at most {most} are allowed", blob.size);
            return Err(error::broken(&name, reason));
        }
        let path = blob_path(image, &blob.digest);
        let response = self.inner.transport.request(image, Method::GET, &path, "*/*").await?;
        let bytes = self.inner.transport.bounded(image, response, most).await?;
        if Digest::of(&bytes) != blob.digest {
            return Err(error::broken(&name, format!("{} came damaged", blob.digest)).retryable());
        }
        Ok(bytes)
    }
}

fn manifest_path(image: &Reference) -> String {
    let which = image.digest().or(image.tag()).unwrap_or("latest");
    format!("{}/manifests/{which}", image.repository())
}

fn blob_path(image: &Reference, digest: &Digest) -> String {
    format!("{}/blobs/{digest}", image.repository())
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok().and_then(Digest::parse)
}

fn is_file_system(media_type: &str) -> bool {
    media_type.contains("tar") && !media_type.contains("encrypted")
}

/// What errors call a registry.
fn registry_name(image: &Reference) -> &str {
    reference::host(image)
}
