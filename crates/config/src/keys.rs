//! Every configuration key, once. A table: length is harmless here.

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`, or one of Go's other spellings.
    Bool,
    /// Whole number.
    Int,
    /// Whole number from 0.
    Uint,
    /// Duration such as `1m30s`.
    Duration,
    /// List of texts; comma-separated on the command line and in the environment.
    List,
    /// Texts by name; `k=v,k2=v2` on the command line and in the environment.
    Map,
    /// `anywhere` or `local`.
    Locality,
    /// Structured; only in files.
    Json,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path in its canonical spelling.
    pub path: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default as text; empty is the zero value. `$HOME` and `$CPUS` are filled in when it is loaded.
    pub default: &'static str,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// It is or holds credentials, which are never shown.
    pub secret: bool,
}

impl Key {
    /// Environment variable that sets it.
    pub fn env(&self) -> String {
        format!("BACALHAU_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}

/// The key of that path, in any case.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path.eq_ignore_ascii_case(path))
}

/// Sections that Bacalhau 1.9 keeps in reserve: shown, accepted, always empty.
pub const RESERVED: [&str; 2] = ["Engines.Types.WASM", "FeatureFlags"];

/// Longest name for which a similar key is looked for, bytes: keys have at most 60, and comparing takes its time.
const LONGEST: usize = 120;

/// True when keys are below that path, or could be, in any case.
pub fn is_section(path: &str) -> bool {
    let is_above = |key: &Key| {
        key.path.get(..path.len()).is_some_and(|head| head.eq_ignore_ascii_case(path))
            && key.path.get(path.len()..).is_some_and(|tail| tail.starts_with('.'))
    };
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(path)) || KEYS.iter().any(is_above)
}

/// The known path that is closest to `path`, for "did you mean".
pub fn similar(path: &str) -> Option<&'static str> {
    if path.len() > LONGEST {
        return None;
    }
    let wanted = path.to_ascii_lowercase();
    let last = wanted.rsplit('.').next().unwrap_or_default();
    let score = |key: &&Key| {
        let known = key.path.to_ascii_lowercase();
        let ends = known.rsplit('.').next() == Some(last);
        (distance(&known, &wanted) * 4).saturating_sub(if ends { 8 } else { 0 })
    };
    KEYS.iter().min_by_key(score).filter(|key| score(key) <= wanted.len().max(8) * 2).map(|key| key.path)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let up = *cell;
            let best = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            diagonal = up;
            left = best;
            *cell = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc, secret: false }
}

const fn secret(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc, secret: true }
}

/// All keys, in the order of Bacalhau 1.9's documentation.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key("API.Host", Kind::Text, "0.0.0.0", "Address the server listens on and the client talks to; clients may give a URL, servers a word such as loopback or private."),
    key("API.Port", Kind::Int, "1234", "Port of the HTTP API."),
    key("API.TLS.CertFile", Kind::Text, "", "Certificate of the API server, PEM."),
    key("API.TLS.KeyFile", Kind::Text, "", "Private key of the API server, PEM."),
    key("API.TLS.CAFile", Kind::Text, "", "Certificate authority that clients trust, PEM."),
    key("API.TLS.UseTLS", Kind::Bool, "false", "Clients talk HTTPS."),
    key("API.TLS.Insecure", Kind::Bool, "false", "Clients do not verify the server's certificate."),
    key("API.TLS.SelfSigned", Kind::Bool, "false", "The server makes itself a certificate."),
    key("API.TLS.AutoCert", Kind::Text, "", "Domain for which the server gets a certificate by ACME."),
    key("API.TLS.AutoCertCachePath", Kind::Text, "", "Folder for certificates got by ACME."),
    key("API.Auth.Methods", Kind::Json, "{\"ClientKey\":{\"Type\":\"challenge\"}}", "Authentication methods by name, each with Type (challenge or ask) and PolicyPath."),
    key("API.Auth.AccessPolicyPath", Kind::Text, "", "File or folder of the access policy; empty allows everything."),
    secret("API.Auth.Users", Kind::Json, "", "Built-in users, each with Username and Password or APIKey, and Capabilities."),
    key("API.Auth.Oauth2.ProviderID", Kind::Text, "", "ID of the OAuth2 provider; setting it turns single sign-on on."),
    key("API.Auth.Oauth2.ProviderName", Kind::Text, "", "Name of the OAuth2 provider for people."),
    key("API.Auth.Oauth2.TokenEndpoint", Kind::Text, "", "Token endpoint of the OAuth2 provider."),
    key("API.Auth.Oauth2.JWKSUri", Kind::Text, "", "Where the provider's public keys are."),
    key("API.Auth.Oauth2.Issuer", Kind::Text, "", "Issuer that tokens must name."),
    key("API.Auth.Oauth2.DeviceClientID", Kind::Text, "", "Client ID for the device flow."),
    key("API.Auth.Oauth2.DeviceAuthorizationEndpoint", Kind::Text, "", "Where the device flow starts."),
    key("API.Auth.Oauth2.Audience", Kind::Text, "", "Audience that tokens must name."),
    key("API.Auth.Oauth2.Scopes", Kind::List, "", "Scopes to ask for."),
    key("API.Auth.Oauth2.PollingInterval", Kind::Int, "0", "Seconds between polls of the device flow."),
    key("API.Metrics", Kind::Bool, "true", "Serve figures about the node for Prometheus at /metrics."),
    key("NameProvider", Kind::Text, "puuid", "Where the node's name comes from: puuid (made once and kept), uuid or hostname."),
    key("DataDir", Kind::Text, "$HOME/.bacalhau", "Folder for everything this node keeps."),
    key("StrictVersionMatch", Kind::Bool, "false", "Only nodes of exactly this version get work."),
    key("Orchestrator.Enabled", Kind::Bool, "false", "Run the orchestrator role."),
    key("Orchestrator.Host", Kind::Text, "0.0.0.0", "Address the embedded NATS server listens on."),
    key("Orchestrator.Port", Kind::Int, "4222", "Port of the embedded NATS server."),
    key("Orchestrator.Advertise", Kind::Text, "", "Address (host or host:port) that the NATS server announces to nodes."),
    secret("Orchestrator.Auth.Token", Kind::Text, "", "Token that compute nodes must present."),
    key("Orchestrator.TLS.ServerCert", Kind::Text, "", "Certificate of the NATS server, PEM."),
    key("Orchestrator.TLS.ServerKey", Kind::Text, "", "Private key of the NATS server, PEM."),
    key("Orchestrator.TLS.ServerTimeout", Kind::Int, "0", "Seconds that a TLS handshake with the NATS server may take; 0 is the default."),
    key("Orchestrator.TLS.CACert", Kind::Text, "", "Certificate authority for the orchestrator's own connection."),
    key("Orchestrator.Cluster.Name", Kind::Text, "", "Name of the NATS cluster."),
    key("Orchestrator.Cluster.Host", Kind::Text, "", "Address for connections of other servers of the cluster."),
    key("Orchestrator.Cluster.Port", Kind::Int, "0", "Port for connections of other servers of the cluster."),
    key("Orchestrator.Cluster.Advertise", Kind::Text, "", "Address announced to other servers of the cluster."),
    secret("Orchestrator.Cluster.Peers", Kind::List, "", "Other servers of the cluster."),
    key("Orchestrator.NodeManager.DisconnectTimeout", Kind::Duration, "1m0s", "A node without a heartbeat for this long is gone."),
    key("Orchestrator.NodeManager.ReconnectGrace", Kind::Duration, "0s", "How long the work of a node waits for it when its connection breaks; 0 for 1.5 s."),
    key("Orchestrator.NodeManager.ManualApproval", Kind::Bool, "false", "New nodes wait until an operator approves them."),
    key("Orchestrator.EventsKept", Kind::Uint, "", "Events of the stream that are kept; 0 is the default of 100000."),
    key("Orchestrator.Scheduler.WorkerCount", Kind::Int, "$CPUS", "Kept for compatibility: one task makes all decisions."),
    key("Orchestrator.Scheduler.QueueBackoff", Kind::Duration, "1m0s", "Kept for compatibility: waiting jobs are woken by what they wait for."),
    key("Orchestrator.Scheduler.HousekeepingInterval", Kind::Duration, "30s", "Kept for compatibility: timeouts are acted upon when they are due."),
    key("Orchestrator.Scheduler.HousekeepingTimeout", Kind::Duration, "2m0s", "Kept for compatibility."),
    key("Orchestrator.EvaluationBroker.VisibilityTimeout", Kind::Duration, "1m0s", "Kept for compatibility."),
    key("Orchestrator.EvaluationBroker.MaxRetryCount", Kind::Int, "10", "Kept for compatibility."),
    key("Orchestrator.Retention.MaxAge", Kind::Duration, "", "How long a finished job is kept after its end; 0 keeps it for ever."),
    key("Orchestrator.Retention.MaxJobs", Kind::Uint, "0", "Finished jobs kept, those that ended last; 0 keeps all."),
    key("Orchestrator.Retention.MaxExecutionsPerJob", Kind::Uint, "1000", "Ended executions kept of a job that is not finished, the newest; 0 keeps all."),
    key("Orchestrator.Retention.MaxHistoryPerJob", Kind::Uint, "10000", "Lines of history kept of a job that is not finished, the newest; 0 keeps all."),
    key("Orchestrator.SupportReverseProxy", Kind::Bool, "false", "The NATS server stands behind a proxy that ends TLS."),
    key("Compute.Enabled", Kind::Bool, "false", "Run the compute role."),
    secret("Compute.Orchestrators", Kind::List, "nats://127.0.0.1:4222", "Addresses of orchestrators, each host, host:port or token@host."),
    key("Compute.Auth.Credentials", Kind::Text, "", "File made by `bacalhau node credentials create`, instead of a token."),
    secret("Compute.Auth.Token", Kind::Text, "", "Token presented to the orchestrator."),
    key("Compute.TLS.CACert", Kind::Text, "", "Certificate authority that the orchestrator's certificate must come from, PEM."),
    key("Compute.TLS.RequireTLS", Kind::Bool, "false", "Refuse connections without TLS."),
    key("Compute.Network.AdvertisedAddress", Kind::Text, "", "Address announced to others."),
    key("Compute.Network.PortRangeStart", Kind::Int, "20000", "First port given to jobs."),
    key("Compute.Network.PortRangeEnd", Kind::Int, "32000", "Last port given to jobs."),
    key("Compute.Heartbeat.Interval", Kind::Duration, "15s", "Time between heartbeats."),
    key("Compute.Heartbeat.InfoUpdateInterval", Kind::Duration, "1m0s", "Time between looks whether the node's description changed."),
    key("Compute.Heartbeat.ResourceUpdateInterval", Kind::Duration, "", "Kept for compatibility."),
    key("Compute.AllocatedCapacity.CPU", Kind::Text, "80%", "Cores that jobs may use, as a percentage or an amount."),
    key("Compute.AllocatedCapacity.Memory", Kind::Text, "80%", "Memory that jobs may use, as a percentage or an amount."),
    key("Compute.AllocatedCapacity.Disk", Kind::Text, "80%", "Disk that jobs may use, as a percentage or an amount."),
    key("Compute.AllocatedCapacity.GPU", Kind::Text, "100%", "GPUs that jobs may use, as a percentage or a number."),
    key("Compute.Disk.ExecutionLimit", Kind::Text, "", "How much an execution may write whose job does not ask for disk, such as 10GB or 5% of the disk; empty is no limit."),
    key("Compute.Disk.ResultsAge", Kind::Duration, "168h0m0s", "How long results of the local publisher are kept; 0 keeps them for ever."),
    key("Compute.Disk.ResultsSize", Kind::Text, "50%", "How much results of the local publisher may take together, as an amount or a percentage of the disk; the oldest go first. 0 is no limit."),
    key("Compute.AllowListedLocalPaths", Kind::List, "", "Local paths that jobs may read, as globs, each with :ro (default) or :rw."),
    key("Compute.Logs.Retention", Kind::Duration, "24h0m0s", "How long the log of an execution is kept after its end."),
    key("Compute.Logs.MaxExecutionSize", Kind::Text, "1Gi", "Most that is kept of the log of one execution: its newest part."),
    key("Compute.Logs.MaxTotalSize", Kind::Text, "", "Most that all logs of the node take together; empty for 10Gi, or a quarter of a small disk."),
    key("Compute.Logs.KeepDiskFree", Kind::Text, "", "Free space of the disk that logs leave; empty for 512Mi, or a tenth of a small disk."),
    key("Compute.Env.AllowList", Kind::List, "", "Environment variables of the node that jobs may read, as globs."),
    key("Labels", Kind::Map, "", "Labels of this node."),
    key("WebUI.Enabled", Kind::Bool, "false", "Serve the web UI."),
    key("WebUI.Listen", Kind::Text, "0.0.0.0:8438", "Address of the web UI."),
    key("WebUI.Backend", Kind::Text, "", "API that the web UI talks to; empty is this node's own."),
    key("InputSources.Disabled", Kind::List, "", "Input sources that are switched off."),
    key("InputSources.ReadTimeout", Kind::Duration, "5m0s", "Longest time to read an input."),
    key("InputSources.MaxRetryCount", Kind::Int, "3", "Further attempts to fetch an input."),
    key("InputSources.Types.IPFS.Endpoint", Kind::Text, "", "IPFS node for inputs, a multiaddr."),
    key("Publishers.Disabled", Kind::List, "", "Publishers that are switched off."),
    key("Publishers.Types.IPFS.Endpoint", Kind::Text, "", "IPFS node for results, a multiaddr."),
    key("Publishers.Types.S3.PreSignedURLDisabled", Kind::Bool, "false", "Do not sign download links to S3 results."),
    key("Publishers.Types.S3.PreSignedURLExpiration", Kind::Duration, "", "How long signed links to S3 results are valid."),
    key("Publishers.Types.S3Managed.Bucket", Kind::Text, "", "Bucket for results that the orchestrator manages."),
    key("Publishers.Types.S3Managed.Key", Kind::Text, "", "Prefix inside that bucket."),
    key("Publishers.Types.S3Managed.Region", Kind::Text, "", "Region of that bucket."),
    key("Publishers.Types.S3Managed.Endpoint", Kind::Text, "", "Endpoint of that bucket, for other stores than AWS."),
    key("Publishers.Types.S3Managed.PreSignedURLExpiration", Kind::Duration, "1h0m0s", "How long its signed links are valid."),
    key("Publishers.Types.Local.Address", Kind::Text, "127.0.0.1", "Host in the links of the local publisher; the default is replaced by the node's own address when it is known."),
    key("Publishers.Types.Local.Port", Kind::Int, "6001", "Port of the local publisher."),
    key("Engines.Disabled", Kind::List, "", "Engines that are switched off."),
    key("Engines.Types.Docker.ManifestCache.Size", Kind::Uint, "1000", "Image descriptions kept."),
    key("Engines.Types.Docker.ManifestCache.TTL", Kind::Duration, "1h0m0s", "How long an image description is kept."),
    key("Engines.Types.Docker.ManifestCache.Refresh", Kind::Duration, "1h0m0s", "Time between clean-ups of image descriptions."),
    key("Engines.Types.Docker.Backend", Kind::Text, "", "What serves jobs of type docker: auto (as when it is empty) takes a Docker Engine if one answers and this node itself if not; docker; oci."),
    key("Engines.Types.Docker.PidsLimit", Kind::Uint, "4096", "Most processes and threads of one container; 0 is no limit."),
    key("Engines.Types.Docker.StopTimeout", Kind::Duration, "1s", "Time a container has to end by itself when it is stopped, in whole seconds."),
    key("Engines.Types.Exec.Enabled", Kind::Bool, "false", "Offer the engine exec, which runs plain processes on this machine."),
    key("Engines.Types.Exec.AllowListedPrograms", Kind::List, "", "Programs that exec jobs may run: globs over real paths, such as /usr/bin/*; /** allows all."),
    key("Engines.Types.Exec.User", Kind::Text, "", "User that exec jobs run as, a name or a number; the default is the node's own, or nobody if that is root."),
    key("Engines.Types.Exec.Group", Kind::Text, "", "Group that exec jobs run as; the default is the user's own."),
    key("Engines.Types.OCI.Runtime", Kind::Text, "", "Program that makes containers of engine oci; empty takes crun or runc, whichever works."),
    key("Engines.Types.OCI.PidsLimit", Kind::Int, "0", "Most processes and threads of one container of engine oci; 0 is 4096, -1 is no limit."),
    key("Engines.Types.OCI.StopTimeout", Kind::Duration, "", "Time a container of engine oci has to end by itself when it is stopped; empty is 1s."),
    key("Engines.Types.OCI.Subnet", Kind::Text, "", "Addresses for containers of engine oci with a network of their own, four for each; empty is 10.201.0.0/16."),
    key("Images.MaxSize", Kind::Text, "", "Disk that unpacked images may take; those used least recently go first; empty is 50GiB."),
    key("Images.MaxImageSize", Kind::Text, "", "Largest image that is fetched; empty is 100GiB."),
    key("Images.InsecureRegistries", Kind::List, "", "Registries that may be used without a valid certificate or without encryption; those on the loopback always may."),
    key("Orchestrator.PinImages.Disabled", Kind::Bool, "false", "Do not ask registries at submit which digest a tag stands for."),
    key("Orchestrator.PinImages.Timeout", Kind::Duration, "", "Longest time that a submission waits for a registry; empty is 3s."),
    key("ResultDownloaders.Disabled", Kind::List, "", "Downloaders that are switched off."),
    key("ResultDownloaders.Timeout", Kind::Duration, "", "Longest time of a download."),
    key("ResultDownloaders.Types.IPFS.Endpoint", Kind::Text, "", "IPFS node for downloads, a multiaddr."),
    key("JobDefaults.Batch.Priority", Kind::Int, "0", "Priority of batch jobs that set none."),
    key("JobDefaults.Batch.Task.Resources.CPU", Kind::Text, "500m", "Cores of batch jobs that ask for none."),
    key("JobDefaults.Batch.Task.Resources.Memory", Kind::Text, "512Mb", "Memory of batch jobs that ask for none."),
    key("JobDefaults.Batch.Task.Resources.Disk", Kind::Text, "", "Disk of batch jobs that ask for none."),
    key("JobDefaults.Batch.Task.Resources.GPU", Kind::Text, "", "GPUs of batch jobs that ask for none."),
    key("JobDefaults.Batch.Task.Publisher.Type", Kind::Text, "", "Publisher of batch jobs that name none."),
    key("JobDefaults.Batch.Task.Publisher.Params", Kind::Map, "", "Parameters of that publisher."),
    key("JobDefaults.Batch.Task.Timeouts.TotalTimeout", Kind::Duration, "", "Longest time of batch jobs that set none."),
    key("JobDefaults.Batch.Task.Timeouts.ExecutionTimeout", Kind::Duration, "", "Longest time of one execution of batch jobs that set none."),
    key("JobDefaults.Ops.Priority", Kind::Int, "0", "Priority of ops jobs that set none."),
    key("JobDefaults.Ops.Task.Resources.CPU", Kind::Text, "500m", "Cores of ops jobs that ask for none."),
    key("JobDefaults.Ops.Task.Resources.Memory", Kind::Text, "512Mb", "Memory of ops jobs that ask for none."),
    key("JobDefaults.Ops.Task.Resources.Disk", Kind::Text, "", "Disk of ops jobs that ask for none."),
    key("JobDefaults.Ops.Task.Resources.GPU", Kind::Text, "", "GPUs of ops jobs that ask for none."),
    key("JobDefaults.Ops.Task.Publisher.Type", Kind::Text, "", "Publisher of ops jobs that name none."),
    key("JobDefaults.Ops.Task.Publisher.Params", Kind::Map, "", "Parameters of that publisher."),
    key("JobDefaults.Ops.Task.Timeouts.TotalTimeout", Kind::Duration, "", "Longest time of ops jobs that set none."),
    key("JobDefaults.Ops.Task.Timeouts.ExecutionTimeout", Kind::Duration, "", "Longest time of one execution of ops jobs that set none."),
    key("JobDefaults.Daemon.Priority", Kind::Int, "0", "Priority of daemon jobs that set none."),
    key("JobDefaults.Daemon.Task.Resources.CPU", Kind::Text, "500m", "Cores of daemon jobs that ask for none."),
    key("JobDefaults.Daemon.Task.Resources.Memory", Kind::Text, "512Mb", "Memory of daemon jobs that ask for none."),
    key("JobDefaults.Daemon.Task.Resources.Disk", Kind::Text, "", "Disk of daemon jobs that ask for none."),
    key("JobDefaults.Daemon.Task.Resources.GPU", Kind::Text, "", "GPUs of daemon jobs that ask for none."),
    key("JobDefaults.Service.Priority", Kind::Int, "0", "Priority of service jobs that set none."),
    key("JobDefaults.Service.Task.Resources.CPU", Kind::Text, "500m", "Cores of service jobs that ask for none."),
    key("JobDefaults.Service.Task.Resources.Memory", Kind::Text, "512Mb", "Memory of service jobs that ask for none."),
    key("JobDefaults.Service.Task.Resources.Disk", Kind::Text, "", "Disk of service jobs that ask for none."),
    key("JobDefaults.Service.Task.Resources.GPU", Kind::Text, "", "GPUs of service jobs that ask for none."),
    key("JobAdmissionControl.Locality", Kind::Locality, "anywhere", "anywhere takes jobs whose inputs must be fetched, local does not."),
    key("JobAdmissionControl.RejectStatelessJobs", Kind::Bool, "false", "Refuse jobs without inputs."),
    key("JobAdmissionControl.RejectNetworkedJobs", Kind::Bool, "false", "Refuse jobs that ask for network access."),
    key("JobAdmissionControl.ProbeHTTP", Kind::Text, "", "URL that is asked before a bid."),
    key("JobAdmissionControl.ProbeExec", Kind::Text, "", "Command that is asked before a bid."),
    key("JobAdmissionControl.ProbeTimeout", Kind::Duration, "10s", "How long the command and the URL that are asked before a bid may take."),
    key("Logging.Level", Kind::Text, "info", "trace, debug, info, warn or error."),
    key("Logging.Mode", Kind::Text, "default", "default for people, json for machines."),
    key("Logging.LogDebugInfoInterval", Kind::Duration, "30s", "Time between debug reports."),
    key("UpdateConfig.Interval", Kind::Duration, "24h0m0s", "Kept for compatibility: this program never calls home."),
    key("DisableAnalytics", Kind::Bool, "false", "Kept for compatibility: this program sends no analytics."),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that Bacalhau 1.9 does not have.
    const OURS: &[&str] = &[
        "Compute.Auth.Credentials",
        "Engines.Types.Exec.Enabled",
        "Engines.Types.Exec.AllowListedPrograms",
        "Engines.Types.Exec.User",
        "Engines.Types.Exec.Group",
        "Engines.Types.Docker.Backend",
        "Engines.Types.Docker.PidsLimit",
        "Engines.Types.Docker.StopTimeout",
        "Engines.Types.OCI.Runtime",
        "Engines.Types.OCI.PidsLimit",
        "Engines.Types.OCI.StopTimeout",
        "Engines.Types.OCI.Subnet",
        "Images.MaxSize",
        "Images.MaxImageSize",
        "Images.InsecureRegistries",
        "Orchestrator.PinImages.Disabled",
        "Orchestrator.PinImages.Timeout",
        "API.Metrics",
        "Compute.Disk.ExecutionLimit",
        "Compute.Disk.ResultsAge",
        "Compute.Disk.ResultsSize",
        "JobAdmissionControl.ProbeTimeout",
        "Orchestrator.EventsKept",
        "Orchestrator.NodeManager.ReconnectGrace",
        "Compute.Logs.Retention",
        "Compute.Logs.MaxExecutionSize",
        "Compute.Logs.MaxTotalSize",
        "Compute.Logs.KeepDiskFree",
        "Orchestrator.Retention.MaxAge",
        "Orchestrator.Retention.MaxJobs",
        "Orchestrator.Retention.MaxExecutionsPerJob",
        "Orchestrator.Retention.MaxHistoryPerJob",
    ];

    #[test]
    fn keys_are_unique_in_any_case_and_found() {
        let mut seen = std::collections::BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.path.to_ascii_lowercase()), "{}", key.path);
            assert_eq!(find(&key.path.to_ascii_uppercase()).map(|k| k.path), Some(key.path));
            assert!(key.doc.ends_with('.'), "{}", key.path);
        }
        assert!(OURS.iter().all(|key| find(key).is_some()));
        assert_eq!(KEYS.len(), 130 + OURS.len(), "Bacalhau 1.9 has 130");
        assert_eq!(
            find("Compute.AllocatedCapacity.CPU").unwrap().env(),
            "BACALHAU_COMPUTE_ALLOCATEDCAPACITY_CPU"
        );
    }

    #[test]
    fn sections() {
        for section in ["api", "API.TLS", "Engines.Types.WASM", "featureflags"] {
            assert!(is_section(section) && find(section).is_none(), "{section}");
        }
        for other in ["AP", "API.", "API.Port", "API.TL", "Labels", "", "Ä"] {
            assert!(!is_section(other), "{other}");
        }
    }

    #[test]
    fn suggestions() {
        assert_eq!(similar("API.Prot"), Some("API.Port"));
        assert_eq!(similar("Compute.Orchestrator"), Some("Compute.Orchestrators"));
        assert_eq!(similar("completely.different.thing"), None);
        assert_eq!(similar(&"x".repeat(1 << 20)), None);
    }
}
