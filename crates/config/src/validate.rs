//! Rules that go beyond the type of one value, checked before a server starts.

use crate::load::Config;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use bacalhau_model::{Resources, ResourcesConfig, quantity};
use serde_json::Value as Json;
use std::net::IpAddr;

/// Keys and sections that promise protection or a service that this version cannot give. Ignoring them would break
/// the promise unseen: a node that is asked for them does not start.
const NOT_SUPPORTED: [&str; 10] = [
    "API.TLS.CertFile",
    "API.TLS.SelfSigned",
    "API.TLS.AutoCert",
    "API.Auth.AccessPolicyPath",
    "API.Auth.Users",
    "API.Auth.Oauth2",
    "StrictVersionMatch",
    "Orchestrator.Cluster.Name",
    "Orchestrator.Cluster.Peers",
    "WebUI.Enabled",
];

/// All problems that keep a node from starting, in one error.
pub fn validate(config: &Config) -> Result<(), Error> {
    let mut problems = ports(config);
    problems.extend(certificates(config));
    if config.int("Orchestrator.TLS.ServerTimeout") < 0 {
        problems.push("Orchestrator.TLS.ServerTimeout: must not be below 0 seconds".to_owned());
    }
    problems.extend(capacity(config).map(|why| format!("Compute.AllocatedCapacity: {why}")));
    for path in [
        "Orchestrator.NodeManager.DisconnectTimeout",
        "Compute.Heartbeat.Interval",
        "Compute.Heartbeat.InfoUpdateInterval",
    ] {
        if config.duration(path).is_zero() {
            problems.push(format!("{path}: must be longer than 0s"));
        }
    }
    problems.extend(logging(config));
    problems.extend(log_sizes(config));
    problems.extend(not_supported(config));
    problems.extend(methods(config));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(code::CONFIGURATION_ERROR, format!("invalid config: {}", problems.join("; "))))
}

fn ports(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for path in ["API.Port", "Orchestrator.Port", "Orchestrator.Cluster.Port", "Publishers.Types.Local.Port"]
    {
        problems.extend(port(config.int(path)).map(|why| format!("{path}: {why}")));
    }
    let (from, to) =
        (config.int("Compute.Network.PortRangeStart"), config.int("Compute.Network.PortRangeEnd"));
    if from > to || from < 1 || to > 65_535 {
        problems.push(format!("Compute.Network: port range {from} to {to} is empty or out of 1 to 65535"));
    }
    problems
}

/// Names that Bacalhau 1.9 takes; some of its modes look like others here.
fn logging(config: &Config) -> Vec<String> {
    let lists: [(&str, &[&str]); 2] = [
        ("Logging.Level", &["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"]),
        ("Logging.Mode", &["default", "json", "combined", "event", "station", "cmd"]),
    ];
    let wrong = lists.into_iter().filter_map(|(path, names)| {
        let found = config.text(path);
        let known = names.iter().any(|name| name.eq_ignore_ascii_case(found));
        (!known).then(|| format!("{path}: {found:?} is not one of {}", names.join(", ")))
    });
    wrong.collect()
}

/// Sizes are amounts like 512Mi; where one may be empty that is the usual size.
fn log_sizes(config: &Config) -> Vec<String> {
    let paths = ["Compute.Logs.MaxExecutionSize", "Compute.Logs.MaxTotalSize", "Compute.Logs.KeepDiskFree"];
    let wrong = paths.into_iter().filter_map(|path| {
        let text = config.text(path).trim();
        let known = text.is_empty() || quantity::parse_bytes(text).is_some();
        (!known).then(|| format!("{path}: {text:?} is no size; write it like 512Mi or 10Gi"))
    });
    wrong.collect()
}

fn port(number: i64) -> Option<String> {
    match number {
        ..0 => Some(format!("invalid negative port number: {number}")),
        0..=65_535 => None,
        _ => Some(format!("port number {number} exceeds maximum allowed value (65535)")),
    }
}

fn certificates(config: &Config) -> impl Iterator<Item = String> {
    let pairs = [
        ("API.TLS", config.text("API.TLS.CertFile"), config.text("API.TLS.KeyFile")),
        (
            "Orchestrator.TLS",
            config.text("Orchestrator.TLS.ServerCert"),
            config.text("Orchestrator.TLS.ServerKey"),
        ),
    ];
    pairs.into_iter().filter_map(|(section, cert, key)| match (cert.is_empty(), key.is_empty()) {
        (false, true) => Some(format!("{section}: TLS cert specified without corresponding private key")),
        (true, false) => Some(format!("{section}: TLS private key specified without corresponding cert")),
        _ => None,
    })
}

/// Percentages and amounts that cannot be read. How much they are, only the machine can tell.
fn capacity(config: &Config) -> Option<String> {
    let text = |field: &str| config.text(&format!("Compute.AllocatedCapacity.{field}")).to_owned();
    let wanted =
        ResourcesConfig { cpu: text("CPU"), memory: text("Memory"), disk: text("Disk"), gpu: text("GPU") };
    quantity::scale(&wanted, &Resources::default()).err()
}

fn not_supported(config: &Config) -> impl Iterator<Item = String> {
    let is_in = |path: &str, section: &str| {
        path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let asked = config.iter().filter(move |(key, value, _)| {
        value.to_json().is_some() && NOT_SUPPORTED.iter().any(|section| is_in(key.path, section))
    });
    asked.map(|(key, _, _)| {
        format!("{}: not supported by this version of bacalhau; remove it to start without", key.path)
    })
}

/// The one method there is lets everybody in; any other is there to keep somebody out.
fn methods(config: &Config) -> Vec<String> {
    let methods = config.json("API.Auth.Methods");
    let entries = methods.as_object().into_iter().flatten();
    let problem = |(name, method): (&String, &Json)| {
        let field = |name: &str| method.get(name).and_then(Json::as_str).unwrap_or_default();
        match (field("Type"), field("PolicyPath")) {
            ("challenge", "") => None,
            ("challenge" | "ask", _) => Some(format!(
                "API.Auth.Methods.{name}: only challenge without PolicyPath is supported by this version of bacalhau"
            )),
            (other, _) => Some(format!("API.Auth.Methods.{name}: unknown authentication type: {other:?}")),
        }
    };
    entries.filter_map(problem).collect()
}

/// An address that a server can listen on: an IP address, or a word for the kind of interface.
pub fn listen_address(host: &str, own: &[IpAddr]) -> Result<IpAddr, Error> {
    crate::address::resolve(host, own).map_err(|why| Error::new(code::CONFIGURATION_ERROR, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::Sources;

    fn problems(items: &[&str]) -> String {
        let items = items.iter().map(|i| Item::parse(i).unwrap()).collect();
        let sources = Sources { items, home: Some("/nowhere".into()), ..Sources::default() };
        validate(&Config::load(&sources).unwrap()).map_or_else(|e| e.message, |()| String::new())
    }

    #[test]
    fn rules() {
        assert_eq!(problems(&[]), "");
        for (items, says) in [
            (&["API.Port=-1"][..], "API.Port: invalid negative port number: -1"),
            (&["Orchestrator.Port=70000"][..], "port number 70000 exceeds maximum allowed value (65535)"),
            (&["API.TLS.CertFile=x"][..], "TLS cert specified without corresponding private key"),
            (&["Compute.Network.PortRangeStart=40000"][..], "port range 40000 to 32000"),
            (&["Compute.Heartbeat.Interval=0"][..], "must be longer than 0s"),
            (
                &["Orchestrator.TLS.ServerTimeout=-3"][..],
                "Orchestrator.TLS.ServerTimeout: must not be below 0",
            ),
            (&["API.Auth.AccessPolicyPath=x"][..], "API.Auth.AccessPolicyPath: not supported"),
            (&["API.TLS.KeyFile=x"][..], "API.TLS: TLS private key specified without corresponding cert"),
            (&["Orchestrator.TLS.ServerCert=x"][..], "Orchestrator.TLS: TLS cert specified without"),
            (
                &["Compute.AllocatedCapacity.CPU=200%"][..],
                "Compute.AllocatedCapacity: cpu capacity percentage must be between 0% and 100%, got 200%",
            ),
            (&["Compute.AllocatedCapacity.Memory=-1%"][..], "memory capacity percentage must be between"),
            (&["Compute.AllocatedCapacity.Disk=lots"][..], "Compute.AllocatedCapacity: "),
            (&["API.Auth.Oauth2.JWKSUri=x"][..], "API.Auth.Oauth2.JWKSUri: not supported"),
            (
                &["API.TLS.SelfSigned", "WebUI.Enabled"][..],
                "API.TLS.SelfSigned: not supported by this version of bacalhau; remove it to start without; WebUI.Enabled: not supported",
            ),
            (&["StrictVersionMatch"][..], "StrictVersionMatch: not supported"),
            (&["Orchestrator.Cluster.Peers=hush@a"][..], "Orchestrator.Cluster.Peers: not supported"),
        ] {
            let said = problems(items);
            assert!(said.starts_with("invalid config: ") && said.contains(says), "{said}");
            assert!(!said.contains("hush"), "{said}");
        }
        for items in [
            &["JobAdmissionControl.Locality=local", "JobAdmissionControl.RejectNetworkedJobs"][..],
            &["JobAdmissionControl.ProbeExec=true", "JobAdmissionControl.ProbeHTTP=http://x"],
            &["Compute.AllocatedCapacity.CPU=2", "Compute.AllocatedCapacity.Memory=100%"],
            &["API.TLS.UseTLS", "API.TLS.CAFile=x", "API.Port=0", "Orchestrator.Cluster.Port=6222"],
        ] {
            assert_eq!(problems(items), "");
        }
    }

    #[test]
    fn methods_and_users_of_files() {
        let problems = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.yaml");
            std::fs::write(&path, text).unwrap();
            let sources = Sources { items: vec![Item::File(path)], ..Sources::default() };
            validate(&Config::load(&sources).unwrap()).map_or_else(|e| e.message, |()| String::new())
        };
        assert_eq!(problems("API: {Auth: {Methods: {clientkey: {type: challenge}}}}\n"), "");
        for (text, says) in [
            ("API: {Auth: {Methods: {m: {Type: ask}}}}\n", "API.Auth.Methods.m: only challenge"),
            ("API: {Auth: {Methods: {m: {Type: challenge, PolicyPath: p}}}}\n", "API.Auth.Methods.m: only"),
            ("API: {Auth: {Methods: {m: {Type: moon}}}}\n", "unknown authentication type: \"moon\""),
            ("API: {Auth: {Users: [{APIKey: hush}]}}\n", "API.Auth.Users: not supported"),
        ] {
            let said = problems(text);
            assert!(said.contains(says) && !said.contains("hush"), "{said}");
        }
    }
}
