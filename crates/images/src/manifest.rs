//! Manifests, lists of manifests, and the configuration of images; the choice among platforms. Pure.

use crate::digest::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// Media types that a registry is asked for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Layers of one image at most; overlayfs takes about as many.
pub(crate) const MOST_LAYERS: usize = 256;

/// Points to content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// What its bytes hash to.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawDescriptor {
    #[serde(deserialize_with = "or_default")]
    media_type: String,
    #[serde(deserialize_with = "or_default")]
    digest: String,
    size: i64,
    #[serde(deserialize_with = "or_default")]
    platform: RawPlatform,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawPlatform {
    #[serde(deserialize_with = "or_default")]
    os: String,
    #[serde(deserialize_with = "or_default")]
    architecture: String,
    #[serde(deserialize_with = "or_default")]
    variant: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawManifest {
    schema_version: i64,
    config: Option<RawDescriptor>,
    #[serde(deserialize_with = "or_default")]
    layers: Vec<RawDescriptor>,
    #[serde(deserialize_with = "or_default")]
    manifests: Vec<RawDescriptor>,
}

/// `null` is as good as nothing, as in Go.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// What a tag or digest stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// One image, or an artifact.
    Image { config: Descriptor, layers: Vec<Descriptor> },
    /// The same image for several platforms.
    List(Vec<(Platform, Descriptor)>),
}

impl Manifest {
    pub(crate) fn parse(json: &[u8]) -> Result<Manifest, String> {
        let raw: RawManifest =
            serde_json::from_slice(json).map_err(|e| format!("its manifest is damaged: {e}"))?;
        if raw.schema_version != 2 {
            return Err("its manifest is of the old schema 1, which is not supported".to_owned());
        }
        let Some(config) = raw.config else {
            let entries = raw.manifests.into_iter().map(|entry| {
                let platform = Platform {
                    os: entry.platform.os.clone(),
                    architecture: entry.platform.architecture.clone(),
                    variant: entry.platform.variant.clone(),
                };
                Ok((platform, entry.check()?))
            });
            return entries.collect::<Result<_, String>>().map(Manifest::List);
        };
        if raw.layers.len() > MOST_LAYERS {
            return Err(format!("it has {} layers, more than {MOST_LAYERS}", raw.layers.len()));
        }
        let layers = raw.layers.into_iter().map(RawDescriptor::check).collect::<Result<_, _>>()?;
        Ok(Manifest::Image { config: config.check()?, layers })
    }
}

impl RawDescriptor {
    fn check(self) -> Result<Descriptor, String> {
        let digest = Digest::parse(&self.digest)
            .ok_or_else(|| format!("its manifest has the digest {:?}, which is not sha256", self.digest))?;
        let size = u64::try_from(self.size).map_err(|_| "its manifest has a negative size".to_owned())?;
        Ok(Descriptor { media_type: self.media_type, digest, size })
    }
}

/// What a program runs on, in Go's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7` and the like; empty where there is only one.
    pub variant: String,
}

impl Platform {
    /// Of this build.
    pub fn this() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            "x86" => ("386", ""),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Among images for several platforms the best for this one, if there is any.
    pub(crate) fn choose<'a>(&self, list: &'a [(Platform, Descriptor)]) -> Option<&'a Descriptor> {
        let rank = |found: &Platform| match (found.variant.as_str(), self.variant.as_str()) {
            (a, b) if a == b => 0,
            ("v8", "") => 1,
            ("", _) => 1,
            // Newer processors run programs for older ones: the newest of those first.
            ("v6", "v7") => 2,
            ("v5", "v7" | "v6") => 3,
            _ => 9,
        };
        let fitting = list.iter().filter(|(found, _)| self.runs(found) && rank(found) < 9);
        fitting.min_by_key(|(found, _)| rank(found)).map(|(_, descriptor)| descriptor)
    }

    /// Whether operating system and processor are the same.
    pub(crate) fn runs(&self, other: &Platform) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The configuration of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `linux`
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// `amd64`
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// How to run it.
    #[serde(deserialize_with = "or_default")]
    pub config: RunConfig,
    #[serde(deserialize_with = "or_default")]
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(deserialize_with = "or_default")]
    diff_ids: Vec<String>,
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// First words of the command.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The words after them, unless the job has its own.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where it starts; empty is `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
}

impl ImageConfig {
    pub(crate) fn parse(json: &[u8]) -> Result<ImageConfig, String> {
        serde_json::from_slice(json).map_err(|e| format!("its configuration is damaged: {e}"))
    }

    /// Digests of the unpacked layers, lowest first.
    pub(crate) fn diff_ids(&self) -> Result<Vec<Digest>, String> {
        let parse = |text: &String| {
            Digest::parse(text)
                .ok_or_else(|| format!("its configuration has the digest {text:?}, which is not sha256"))
        };
        self.rootfs.diff_ids.iter().map(parse).collect()
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: &str, number: u8) -> String {
        let digest = Digest::of(&[number]);
        format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":{number},
            "platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}}}"#
        )
    }

    #[test]
    fn the_right_platform_is_chosen() {
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{},{},{}]}}"#,
            entry("unknown", "unknown", "", 1),
            entry("linux", "arm", "v5", 2),
            entry("linux", "arm", "v6", 3),
            entry("linux", "arm64", "v8", 4),
            entry("linux", "amd64", "", 5),
        );
        let Manifest::List(list) = Manifest::parse(json.as_bytes()).unwrap() else { panic!("a list") };
        let choose = |architecture: &str, variant: &str| {
            let platform =
                Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() };
            platform.choose(&list).map(|found| found.size)
        };
        assert_eq!(choose("amd64", ""), Some(5));
        assert_eq!(choose("arm64", ""), Some(4));
        assert_eq!(choose("arm", "v7"), Some(3));
        assert_eq!(choose("arm", "v5"), Some(2));
        assert_eq!(choose("riscv64", ""), None);
    }

    #[test]
    fn nulls_are_nothing() {
        let config = ImageConfig::parse(
            br#"{"os":"linux","config":{"Entrypoint":null,"Cmd":["sh"],"Env":null},"rootfs":null}"#,
        )
        .unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(config.config.entrypoint.is_empty() && config.diff_ids().unwrap().is_empty());
    }

    #[test]
    fn hostile_manifests() {
        let parse = |json: &str| Manifest::parse(json.as_bytes()).unwrap_err();
        assert!(parse("{").contains("damaged"));
        assert!(parse(r#"{"schemaVersion":1}"#).contains("schema 1"));
        let digest = Digest::of(b"x");
        let config = format!(r#"{{"digest":"{digest}","size":1}}"#);
        let with = |layer: &str| format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        assert!(parse(&with(r#"{"digest":"sha256:../../x","size":1}"#)).contains("not sha256"));
        assert!(parse(&with(&format!(r#"{{"digest":"{digest}","size":-1}}"#))).contains("negative"));
        let many = vec![config.as_str(); MOST_LAYERS + 1].join(",");
        assert!(parse(&with(&many)).contains("layers"));
    }
}
