//! What every command has at hand: where to print, the global flags, the configuration, a client.

use crate::cli::Global;
use crate::endpoint::{self, Configured};
use crate::environment::Environment;
use crate::output::Out;
use crate::profiles::{Profile, Profiles};
use crate::settings::Settings;
use bacalhau_api::client::{Client, Identity};
use bacalhau_model::Error;
use std::cell::OnceCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Made once by `main`. Configuration is read when a command first asks for it.
pub(crate) struct Context {
    /// Where to print.
    pub(crate) out: Out,
    /// Global flags, except `-c`.
    pub(crate) global: Global,
    /// Values of `-c` and of flags named like keys, in order.
    pub(crate) config_items: Vec<String>,
    /// Environment variables.
    pub(crate) environment: Environment,
    settings: OnceCell<Settings>,
}

impl Context {
    /// For a parsed command line.
    pub(crate) fn new(
        out: Out,
        global: Global,
        config_items: Vec<String>,
        environment: Environment,
    ) -> Context {
        Context { out, global, config_items, environment, settings: OnceCell::new() }
    }

    /// The effective configuration.
    pub(crate) fn settings(&self) -> Result<&Settings, Error> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = Settings::load(&self.global, &self.config_items, &self.environment)?;
        self.out.warnings(&settings.config().warnings);
        Ok(self.settings.get_or_init(|| settings))
    }

    /// A client for the server that flags, environment, configuration and profiles point to. Sends nothing.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let settings = self.settings()?;
        let configured = settings.endpoint();
        let profile = self.profile(settings, &configured)?;
        let endpoint = endpoint::choose(&configured, profile.as_ref())?;
        let credential =
            endpoint::credential(&|name| self.environment.get(name).map(str::to_owned), profile.as_ref())?;
        let identity = Identity {
            version: bacalhau_model::version::this_build(),
            instance_id: settings.instance_id(),
            installation_id: crate::settings::installation_id(&self.environment),
        };
        Client::new(&endpoint, &identity, credential.as_ref())
    }

    /// The profile to use, if any. What was given on the command line beats what was not: `--api-host` and its like,
    /// `--profile`, a configured server, `BACALHAU_PROFILE`, the selected profile. A profile that was named must exist.
    fn profile(&self, settings: &Settings, configured: &Configured) -> Result<Option<Profile>, Error> {
        let profiles = Profiles::of(settings.data_dir());
        let by_flag = self.global.profile.as_deref().filter(|name| !name.is_empty());
        match (by_flag, self.environment.get("BACALHAU_PROFILE")) {
            _ if configured.by_flag => Ok(None),
            (Some(name), _) => profiles.must_load(name).map(Some),
            _ if configured.by_any => Ok(None),
            (None, Some(name)) => profiles.must_load(name).map(Some),
            (None, None) => match profiles.current() {
                Some(name) => profiles.load(&name),
                None => Ok(None),
            },
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
