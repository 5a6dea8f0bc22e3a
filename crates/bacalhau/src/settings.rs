//! The configuration as commands use it: the config crate's, fed with this process's flags and environment.

use crate::args;
use crate::cli::Global;
use crate::endpoint::Configured;
use crate::environment::Environment;
use crate::failure::fail;
use bacalhau_config::{Config, DataDir, Item, Kind, Origin, Sources, Value, keys};
use bacalhau_model::Error;
use std::path::{Path, PathBuf};

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    config: Config,
    data_dir: PathBuf,
}

impl Settings {
    /// Merges flags, environment, files and defaults. Reads files, creates nothing.
    pub(crate) fn load(
        global: &Global,
        items: &[String],
        environment: &Environment,
    ) -> Result<Settings, Error> {
        let config = Config::load(&Sources {
            items: parse_items(global, items)?,
            environment: environment.all().clone(),
            home: environment.get("HOME").map(PathBuf::from),
            current_dir: std::env::current_dir()
                .map_err(|e| fail(format!("cannot tell the working directory: {e}")))?,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        })?;
        let data_dir = config.data_dir()?;
        Ok(Settings { config, data_dir })
    }

    /// All values with their origins.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The data directory; it need not exist.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What is configured about the server that clients talk to.
    pub(crate) fn endpoint(&self) -> Configured {
        let from = |path: &str| self.config.get(path).map(|(_, origin)| origin.clone());
        let origins = [from("API.Host"), from("API.Port")];
        let by = |wanted: fn(&Origin) -> bool| origins.iter().flatten().any(wanted);
        let host = self.config.text("API.Host").to_owned();
        let port = self.config.int("API.Port");
        // A server's own file often repeats the defaults; that says nothing about where a client should look.
        let differs = self.differs_from_default("API.Host") || self.differs_from_default("API.Port");
        let ca_file = Some(self.config.text("API.TLS.CAFile")).filter(|f| !f.is_empty()).map(PathBuf::from);
        Configured {
            host,
            port: port.to_string(),
            by_flag: by(|origin| *origin == Origin::Flag),
            by_any: differs || by(|origin| matches!(origin, Origin::Flag | Origin::Environment(_))),
            use_tls: self.config.bool("API.TLS.UseTLS"),
            insecure: self.config.bool("API.TLS.Insecure"),
            ca_file,
        }
    }

    fn differs_from_default(&self, path: &str) -> bool {
        let default = keys::find(path).and_then(|key| Value::from_text(key, key.default).ok());
        self.config.get(path).map(|(value, _)| value) != default.as_ref()
    }

    /// ID of the data directory, empty when it was never used by a server.
    pub(crate) fn instance_id(&self) -> String {
        if !self.data_dir.join("system_metadata.yaml").is_file() {
            return String::new();
        }
        DataDir::open(&self.config).map(|dir| dir.instance_id().to_owned()).unwrap_or_default()
    }
}

/// Dedicated flags come first, so that `-c` wins over them.
fn parse_items(global: &Global, items: &[String]) -> Result<Vec<Item>, Error> {
    let dedicated = [
        ("API.Host", &global.api_host),
        ("API.Port", &global.api_port),
        ("DataDir", &global.data_dir),
        ("Logging.Level", &global.log_level),
    ];
    let dedicated =
        dedicated.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)));
    let mut parsed = Vec::new();
    for text in dedicated.chain(items.iter().cloned()) {
        parsed.push(Item::parse(&text).map_err(|why| {
            fail(why).hint("-c takes a file.yaml, KEY=VALUE, or a KEY to switch on; see `bacalhau config list` for the keys")
        })?);
    }
    Ok(parsed)
}

/// Finds a configuration key for [`args::prepare`].
pub(crate) fn find_key(name: &str) -> Option<args::Key> {
    keys::find(name).map(|key| args::Key { name: key.path.to_owned(), is_bool: key.kind == Kind::Bool })
}

/// ID of the installation, which the installer wrote; empty when there is none.
pub(crate) fn installation_id(environment: &Environment) -> String {
    let folder = match (environment.get("XDG_CONFIG_HOME"), environment.get("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(home).join(".config"),
        (None, None) => return String::new(),
    };
    let text = std::fs::read_to_string(folder.join("bacalhau/installation_id")).unwrap_or_default();
    let id = text.trim();
    let is_id = id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_id { id.to_owned() } else { String::new() }
}
