//! Which server a client talks to, and with which credential.

use crate::failure::fail;
use crate::profiles::Profile;
use bacalhau_api::client::{Credential, Endpoint};
use bacalhau_model::Error;
use std::path::PathBuf;

/// Servers listen on all addresses by default; no client can connect to that.
const ANY_HOST: &str = "0.0.0.0";

/// What the configuration says about the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configured {
    /// `API.Host`
    pub(crate) host: String,
    /// `API.Port`
    pub(crate) port: String,
    /// Host or port were given on the command line.
    pub(crate) by_flag: bool,
    /// Host or port were set at all, beyond repeating the defaults in a file.
    pub(crate) by_any: bool,
    /// `API.TLS.UseTLS`
    pub(crate) use_tls: bool,
    /// `API.TLS.Insecure`
    pub(crate) insecure: bool,
    /// `API.TLS.CAFile`
    pub(crate) ca_file: Option<PathBuf>,
}

/// The server: that of the profile, if one is to be used, else what was configured, which by default is this machine.
///
/// # Errors
/// When the profile has no usable address.
pub(crate) fn choose(configured: &Configured, profile: Option<&Profile>) -> Result<Endpoint, Error> {
    match profile {
        Some(profile) => from_profile(profile),
        None => Ok(Endpoint {
            url: url(configured),
            ca_file: configured.ca_file.clone(),
            insecure: configured.insecure,
        }),
    }
}

/// Unlike in Bacalhau 1.9, `host:port` is understood too.
fn from_profile(profile: &Profile) -> Result<Endpoint, Error> {
    let endpoint = profile.endpoint.trim().trim_end_matches('/');
    if endpoint.is_empty() {
        return Err(fail("the profile has no endpoint")
            .hint("set one with `bacalhau profile save <name> --endpoint <url>`"));
    }
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    Ok(Endpoint { url, ca_file: None, insecure: profile.is_insecure() })
}

/// The host may be a whole URL; a port in it wins.
fn url(configured: &Configured) -> String {
    let host = configured.host.trim().trim_end_matches('/');
    let (scheme, host) = match host.split_once("://") {
        Some((scheme, host)) => (scheme.to_ascii_lowercase(), host),
        None => (if configured.use_tls { "https" } else { "http" }.to_owned(), host),
    };
    let (login, host) = match host.rsplit_once('@') {
        Some((login, host)) => (format!("{login}@"), host),
        None => (String::new(), host),
    };
    let host = if host.is_empty() || host == ANY_HOST { "127.0.0.1" } else { host };
    let is_bare_ipv6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let (host, has_port) = match is_bare_ipv6 {
        true => (format!("[{host}]"), false),
        false => (
            host.to_owned(),
            host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())),
        ),
    };
    let port = if has_port { String::new() } else { format!(":{}", configured.port) };
    format!("{scheme}://{login}{host}{port}")
}

/// The credential: from the environment, else from the profile.
///
/// # Errors
/// When the environment contradicts itself.
pub(crate) fn credential(
    env: &dyn Fn(&str) -> Option<String>,
    profile: Option<&Profile>,
) -> Result<Option<Credential>, Error> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    let (key, username, password) =
        (get("BACALHAU_API_KEY"), get("BACALHAU_API_USERNAME"), get("BACALHAU_API_PASSWORD"));
    let wrong = |why: &str| {
        Err(fail(format!("authentication error: {why}"))
            .hint("set one kind of credential completely and unset the other"))
    };
    match (key, username, password) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => wrong(
            "can't use both BACALHAU_API_KEY and BACALHAU_API_USERNAME/BACALHAU_API_PASSWORD simultaneously",
        ),
        (Some(key), None, None) => Ok(Some(Credential::Bearer(key))),
        (None, Some(username), Some(password)) => Ok(Some(Credential::Basic { username, password })),
        (None, Some(_), None) => wrong("BACALHAU_API_USERNAME provided but not BACALHAU_API_PASSWORD"),
        (None, None, Some(_)) => wrong("BACALHAU_API_PASSWORD provided but not BACALHAU_API_USERNAME"),
        (None, None, None) => Ok(profile.and_then(Profile::token).map(|t| Credential::Bearer(t.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::ProfileAuth;

    fn at(host: &str, port: &str, use_tls: bool) -> String {
        let configured =
            Configured { host: host.to_owned(), port: port.to_owned(), use_tls, ..Configured::default() };
        choose(&configured, None).unwrap().url
    }

    #[test]
    fn addresses() {
        assert_eq!(at("0.0.0.0", "1234", false), "http://127.0.0.1:1234");
        assert_eq!(at("h", "80", true), "https://h:80");
        assert_eq!(at("https://h:99/", "80", false), "https://h:99");
        assert_eq!(at("http://h", "80", true), "http://h:80");
        assert_eq!(at("http://u:p@h:9", "80", false), "http://u:p@h:9");
        assert_eq!(at("::1", "80", false), "http://[::1]:80");
        assert_eq!(at("[::1]:9", "80", false), "http://[::1]:9");
    }

    #[test]
    fn profiles_may_leave_the_scheme_out() {
        let profile = Profile { endpoint: "h:5/".to_owned(), ..Profile::default() };
        let configured = Configured::default();
        assert_eq!(choose(&configured, Some(&profile)).unwrap().url, "http://h:5");
        assert!(choose(&configured, Some(&Profile::default())).is_err());
    }

    #[test]
    fn credentials() {
        let profile = Profile { auth: Some(ProfileAuth { token: "t".to_owned() }), ..Profile::default() };
        let with = |names: &[&str]| {
            let env = |name: &str| names.contains(&name).then(|| "x".to_owned());
            credential(&env, Some(&profile))
        };
        assert!(matches!(with(&[]), Ok(Some(Credential::Bearer(t))) if t == "t"));
        assert!(matches!(with(&["BACALHAU_API_KEY"]), Ok(Some(Credential::Bearer(t))) if t == "x"));
        assert!(matches!(
            with(&["BACALHAU_API_USERNAME", "BACALHAU_API_PASSWORD"]),
            Ok(Some(Credential::Basic { .. }))
        ));
        assert!(with(&["BACALHAU_API_USERNAME"]).unwrap_err().message.contains("not BACALHAU_API_PASSWORD"));
        assert!(with(&["BACALHAU_API_KEY", "BACALHAU_API_PASSWORD"]).unwrap_err().message.contains("both"));
    }
}
