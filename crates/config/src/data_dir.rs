//! The data folder: where things are, and the node's own name.

use crate::load::{Config, invalid};
use crate::{atomic, document};
use bacalhau_model::{Error, ids};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Format of the data folder that this program writes.
const VERSION: u32 = 5;
/// Formats that it reads.
const KNOWN: [u32; 2] = [4, 5];

/// A data folder that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
    metadata: Metadata,
}

/// `system_metadata.yaml`. Names are Bacalhau 1.9's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    repo_version: u32,
    #[serde(rename = "InstanceID")]
    instance_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_update_check: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    node_name: String,
}

impl DataDir {
    /// Opens the configured folder, making it when it is missing.
    pub fn open(config: &Config) -> Result<DataDir, Error> {
        let path = config.data_dir()?;
        let fail = |e: &dyn std::fmt::Display| {
            invalid(format!(
                "failed to initialize the bacalhau repo at {:?}: {e}",
                path.display().to_string()
            ))
            .hint("Set another folder with --data-dir, BACALHAU_DIR or the config key DataDir")
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|e| fail(&e))?;
        let file = path.join("system_metadata.yaml");
        let mut metadata: Metadata = match document::read_text(&file) {
            Ok(text) => serde_saphyr::from_str(&text).map_err(|e| fail(&e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Metadata::default(),
            Err(e) => return Err(fail(&e)),
        };
        if metadata.repo_version != 0 && !KNOWN.contains(&metadata.repo_version) {
            let found = metadata.repo_version;
            return Err(invalid(format!("Unsupported repository version {found}.")).hint(format!(
                "{} was written by another version of bacalhau; use that version or another folder",
                path.display()
            )));
        }
        let before = metadata.clone();
        metadata.repo_version = VERSION;
        if metadata.instance_id.is_empty() {
            metadata.instance_id = ids::new_evaluation_id();
        }
        let dir = DataDir { path: path.clone(), metadata };
        if dir.metadata != before {
            dir.save().map_err(|e| fail(&e))?;
        }
        Ok(dir)
    }

    fn save(&self) -> std::io::Result<()> {
        let text = serde_saphyr::to_string(&self.metadata).map_err(std::io::Error::other)?;
        atomic::write(&self.path.join("system_metadata.yaml"), &text)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the orchestrator keeps.
    pub fn orchestrator(&self) -> PathBuf {
        self.path.join("orchestrator")
    }

    /// What the compute node keeps.
    pub fn compute(&self) -> PathBuf {
        self.path.join("compute")
    }

    /// Made once per folder, at random.
    pub fn instance_id(&self) -> &str {
        &self.metadata.instance_id
    }

    /// The node's name: the stored one, else `wanted`, else one by `NameProvider`; kept from then on.
    /// Also tells when `wanted` is ignored because another name is stored.
    pub fn node_name(
        &mut self,
        wanted: &str,
        provider: &str,
        hostname: &str,
    ) -> Result<(String, bool), Error> {
        let stored = self.metadata.node_name.clone();
        if !stored.is_empty() && provider != "uuid" {
            return Ok((stored.clone(), !wanted.is_empty() && wanted != stored));
        }
        let name = match (wanted, provider) {
            ("", "puuid" | "uuid") => ids::new_node_id(),
            ("", "hostname") => hostname.replace('.', "-"),
            ("", "aws" | "gcp") => {
                return Err(invalid(format!(
                    "node name provider {provider} is not available in this version"
                ))
                .hint("Use NameProvider hostname, puuid or uuid, or give the node a name with --name"));
            }
            ("", other) => {
                return Err(invalid(format!(
                    "unknown node name provider: {other}. Supported providers are: [hostname puuid uuid]"
                )));
            }
            (wanted, _) => wanted.to_owned(),
        };
        if provider != "uuid" || !wanted.is_empty() {
            self.metadata.node_name.clone_from(&name);
            self.save().map_err(|e| invalid(format!("the node's name cannot be stored: {e}")))?;
        }
        Ok((name, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::Sources;
    use std::os::unix::fs::PermissionsExt;

    fn open(dir: &Path) -> Result<DataDir, Error> {
        let items = vec![Item::parse(&format!("DataDir={}", dir.display())).unwrap()];
        DataDir::open(&Config::load(&Sources { items, ..Sources::default() }).unwrap())
    }

    #[test]
    fn identity_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let mut first = open(&dir).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("system_metadata.yaml"))), (0o700, 0o600));
        let text = std::fs::read_to_string(dir.join("system_metadata.yaml")).unwrap();
        assert!(text.contains("RepoVersion: 5") && text.contains("InstanceID: "), "{text}");
        let (name, ignored) = first.node_name("", "puuid", "h").unwrap();
        assert!(name.starts_with("n-") && !ignored);
        let mut second = open(&dir).unwrap();
        assert_eq!(second.instance_id(), first.instance_id());
        assert_eq!(second.node_name("other", "puuid", "h").unwrap(), (name, true));
        assert!(second.node_name("", "moon", "h").is_ok(), "a stored name needs no provider");
    }

    #[test]
    fn names_by_provider_and_odd_folders() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = open(&root.path().join("a")).unwrap();
        assert_eq!(dir.node_name("", "hostname", "my.host").unwrap().0, "my-host");
        let mut dir = open(&root.path().join("u")).unwrap();
        let (one, two) =
            (dir.node_name("", "uuid", "h").unwrap().0, dir.node_name("", "uuid", "h").unwrap().0);
        assert!(one != two, "a uuid is made at each start and not kept");
        let mut dir = open(&root.path().join("b")).unwrap();
        assert!(dir.node_name("", "aws", "h").unwrap_err().message.contains("not available"));
        assert!(
            dir.node_name("", "moon", "h").unwrap_err().message.contains("unknown node name provider: moon")
        );
        let odd = root.path().join("c");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("system_metadata.yaml"), "RepoVersion: 99\n").unwrap();
        assert!(open(&odd).unwrap_err().message.contains("Unsupported repository version 99."));
        std::fs::write(odd.join("system_metadata.yaml"), "RepoVersion: [\n").unwrap();
        assert!(open(&odd).unwrap_err().message.contains("failed to initialize"));
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(open(&root.path().join("file")).unwrap_err().message.contains("failed to initialize"));
    }
}
