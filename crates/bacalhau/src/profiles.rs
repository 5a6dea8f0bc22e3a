//! Saved connections: `<data dir>/profiles/<name>.yaml`, and a link `current` to the one in use.
//!
//! The files hold tokens: they are written with mode 0600, and a token is never shown in full.

use crate::failure::fail;
use crate::output::yaml;
use bacalhau_model::Error;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest profile file.
const MAX_FILE: u64 = 1 << 20;
const CURRENT: &str = "current";

/// A saved connection.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Profile {
    /// URL of the server.
    pub(crate) endpoint: String,
    /// Note for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Kept for files of Bacalhau 1.9; nothing uses it, there or here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) timeout: String,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<ProfileAuth>,
    /// How to trust the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ProfileTls>,
}

/// Credentials of a profile.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProfileAuth {
    /// Sent as a bearer token.
    pub(crate) token: String,
}

/// TLS options of a profile.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProfileTls {
    /// Accept any certificate.
    pub(crate) insecure: bool,
}

impl Profile {
    /// The token, if there is one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.auth.as_ref().map(|auth| auth.token.as_str()).filter(|token| !token.is_empty())
    }

    /// Whether any certificate is accepted.
    pub(crate) fn is_insecure(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.insecure)
    }
}

/// The folder with profiles. It is created with the first profile.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    folder: PathBuf,
}

impl Profiles {
    /// Profiles of a data directory.
    pub(crate) fn of(data_dir: &Path) -> Profiles {
        Profiles { folder: data_dir.join("profiles") }
    }

    /// Names of all profiles, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed("read", &e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| self.failed("read", &e))?.file_name();
            if let Some(name) = name.to_str().and_then(|n| n.strip_suffix(".yaml")).filter(|n| !n.is_empty())
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The name of the profile in use.
    pub(crate) fn current(&self) -> Option<String> {
        let target = fs::read_link(self.folder.join(CURRENT)).ok()?;
        let name = target.file_name()?.to_str()?.strip_suffix(".yaml")?.to_owned();
        self.path(&name).ok()?.is_file().then_some(name)
    }

    /// A profile; `None` when there is none of this name.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Profile>, Error> {
        let path = self.path(name)?;
        let bad =
            |why: &dyn std::fmt::Display| fail(format!("cannot read the profile {}: {why}", path.display()));
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(bad(&e)),
            Ok(meta) if meta.len() > MAX_FILE => return Err(bad(&"it is far too large")),
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|e| bad(&e))?;
        if text.trim().is_empty() {
            return Ok(Some(Profile::default()));
        }
        // The parser quotes the text around an error, which may be the token.
        serde_saphyr::from_str(&text).map(Some).map_err(|_| bad(&"it is no valid YAML profile"))
    }

    /// As [`Profiles::load`], but it must be there.
    pub(crate) fn must_load(&self, name: &str) -> Result<Profile, Error> {
        self.load(name)?.ok_or_else(|| {
            fail(format!("profile {name:?} not found")).hint("see `bacalhau profile list` for the names")
        })
    }

    /// Writes a profile.
    pub(crate) fn save(&self, name: &str, profile: &Profile) -> Result<(), Error> {
        let path = self.path(name)?;
        let value = serde_json::to_value(profile).map_err(|e| self.failed("write", &io::Error::other(e)))?;
        fs::create_dir_all(&self.folder).map_err(|e| self.failed("create", &e))?;
        write_private(&path, yaml::to_text(&value).as_bytes()).map_err(|e| self.failed("write to", &e))
    }

    /// Makes a profile the one in use.
    pub(crate) fn select(&self, name: &str) -> Result<(), Error> {
        let file = self.path(name)?;
        let link = self.folder.join(CURRENT);
        let fresh = self.folder.join(".current.new");
        let target = file.file_name().map(PathBuf::from).unwrap_or_default();
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(target, &fresh)
            .and_then(|()| fs::rename(&fresh, &link))
            .map_err(|e| self.failed("write to", &e))
    }

    /// Removes a profile, and the link if it points there.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        if self.current().as_deref() == Some(name) {
            fs::remove_file(self.folder.join(CURRENT)).map_err(|e| self.failed("write to", &e))?;
        }
        fs::remove_file(self.path(name)?).map_err(|e| self.failed("write to", &e))
    }

    /// The file of a profile. Names become plain file names; nothing outside the folder can be named.
    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let base = Path::new(name.trim()).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if base.is_empty() || base.starts_with('.') {
            return Err(fail("profile name cannot be empty"));
        }
        Ok(self.folder.join(format!("{base}.yaml")))
    }

    fn failed(&self, what: &str, e: &io::Error) -> Error {
        fail(format!("cannot {what} the folder of profiles {}: {e}", self.folder.display()))
    }
}

/// Writes a file that only its owner can read; readers see the old or the new content, never half of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn saved_selected_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let profiles = Profiles::of(dir.path());
        assert_eq!((profiles.names().unwrap(), profiles.current()), (vec![], None));
        let profile = Profile {
            endpoint: "https://h:1".to_owned(),
            auth: Some(ProfileAuth { token: "t".to_owned() }),
            ..Profile::default()
        };
        profiles.save("../../prod", &profile).unwrap();
        profiles.save("test", &Profile::default()).unwrap();
        assert_eq!(profiles.names().unwrap(), ["prod", "test"]);
        assert!(profiles.must_load("prod").unwrap() == profile);
        let file = dir.path().join("profiles/prod.yaml");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "auth:\n  token: t\nendpoint: https://h:1\n");
        profiles.select("prod").unwrap();
        profiles.select("test").unwrap();
        assert_eq!(profiles.current().as_deref(), Some("test"));
        profiles.delete("test").unwrap();
        assert_eq!((profiles.current(), profiles.load("test").unwrap().is_none()), (None, true));
        for bad in ["", "..", " ", "/"] {
            assert!(profiles.save(bad, &profile).is_err(), "{bad:?}");
        }
        assert!(profiles.must_load("nope").is_err_and(|e| e.message == "profile \"nope\" not found"));
    }
}
