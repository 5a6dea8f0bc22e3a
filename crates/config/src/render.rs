//! How configuration is shown: rows for `config list`, a document for the API. Secrets are never part of it.

use crate::keys::RESERVED;
use crate::load::Config;
use crate::secret::mask;
use serde_json::{Map, Value as Json};

/// One row of `config list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Path of the key.
    pub key: &'static str,
    /// Its value as text; `********` for a secret that is set, which Bacalhau 1.9 showed.
    pub value: String,
    /// What it does.
    pub description: &'static str,
    /// Where the value is from.
    pub origin: String,
}

/// All keys, by path.
pub fn rows(config: &Config) -> Vec<Row> {
    let mut rows: Vec<Row> = config
        .iter()
        .map(|(key, value, origin)| Row {
            key: key.path,
            value: mask(key, value).display(),
            description: key.doc,
            origin: origin.to_string(),
        })
        .collect();
    rows.sort_by_key(|row| row.key);
    rows
}

/// The effective configuration as nested sections, sorted by name. Zero values are left out, except where Bacalhau 1.9
/// shows them; sections are always there. It can be used as a configuration file, but for the secrets.
pub fn document(config: &Config) -> Json {
    let mut root = Map::new();
    for (key, value, _) in config.iter() {
        let shown = match (mask(key, value).to_json(), key.path) {
            (None, "API.TLS.Insecure") => Some(Json::from(false)),
            (shown, _) => shown,
        };
        place(&mut root, key.path, shown);
    }
    for section in RESERVED {
        place(&mut root, section, Some(Json::Object(Map::new())));
    }
    Json::Object(root)
}

fn place(into: &mut Map<String, Json>, path: &str, value: Option<Json>) {
    match (path.split_once('.'), value) {
        (Some((section, rest)), value) => {
            let inner = into.entry(section).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
        (None, Some(value)) => {
            into.insert(path.to_owned(), value);
        }
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::Sources;
    use crate::secret::MASK;
    use serde_json::json;

    #[test]
    fn secrets_do_not_show() {
        let items = ["Compute.Auth.Token=hush", "Compute.Orchestrators=hush@h:1,nats://hush@i", "API.Port=5"];
        let sources = Sources {
            items: items.iter().map(|i| Item::parse(i).unwrap()).collect(),
            home: Some("/nowhere".into()),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        let document = document(&config);
        assert_eq!(document["Compute"]["Auth"]["Token"], MASK);
        assert_eq!(document["Compute"]["Orchestrators"], json!(["********@h:1", "nats://********@i"]));
        assert_eq!(document["API"]["TLS"], json!({"Insecure": false}));
        assert_eq!(document["Orchestrator"]["Auth"], json!({}));
        assert_eq!(document["Orchestrator"]["NodeManager"], json!({"DisconnectTimeout": "1m0s"}));
        let shown = format!("{document}{:?}", rows(&config));
        assert!(!shown.contains("hush"), "{shown}");
        let port = rows(&config).into_iter().find(|r| r.key == "API.Port").unwrap();
        assert_eq!((port.value.as_str(), port.origin.as_str()), ("5", "command line"));
    }

    /// What Bacalhau 1.9 answers with an orchestrator on and defaults otherwise, and defaults of keys that are ours.
    #[test]
    fn the_document_is_the_one_of_the_original() {
        let items = ["Orchestrator.Enabled", "Orchestrator.Auth.Token=x", "DataDir=/home/me/.bacalhau"];
        let sources = Sources {
            items: items.iter().map(|i| Item::parse(i).unwrap()).collect(),
            cpus: 8,
            ..Sources::default()
        };
        let resources = json!({"CPU": "500m", "Memory": "512Mb"});
        let full = json!({"Task": {"Resources": resources, "Publisher": {}, "Timeouts": {}}});
        let short = json!({"Task": {"Resources": resources}});
        let mut document = document(&Config::load(&sources).unwrap());
        // Sections of ours are empty.
        for (section, name) in [("Orchestrator", "PinImages"), ("Engines.Types", "OCI"), ("", "Images")] {
            let pointer = section.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}"));
            let inside = document.pointer_mut(&pointer.collect::<String>()).unwrap().as_object_mut().unwrap();
            assert_eq!(inside.remove(name), Some(json!({})), "{name}");
        }
        let ours = document["Orchestrator"].as_object_mut().unwrap().remove("Retention");
        assert_eq!(ours, Some(json!({"MaxExecutionsPerJob": 1000, "MaxHistoryPerJob": 10000})));
        let ours = document["Compute"].as_object_mut().unwrap().remove("Logs");
        assert_eq!(ours, Some(json!({"Retention": "24h0m0s", "MaxExecutionSize": "1Gi"})));
        let ours = document["Engines"]["Types"].as_object_mut().unwrap().remove("Exec");
        assert_eq!(ours, Some(json!({})));
        let docker = document["Engines"]["Types"]["Docker"].as_object_mut().unwrap();
        assert_eq!(docker.remove("PidsLimit"), Some(json!(4096)));
        assert_eq!(docker.remove("StopTimeout"), Some(json!("1s")));
        for (section, key, default) in [
            ("API", "Metrics", json!(true)),
            ("Compute", "Disk", json!({"ResultsAge": "168h0m0s", "ResultsSize": "50%"})),
            ("JobAdmissionControl", "ProbeTimeout", json!("10s")),
        ] {
            assert_eq!(document[section].as_object_mut().unwrap().remove(key), Some(default));
        }
        assert_eq!(
            document,
            json!({
                "API": {
                    "Host": "0.0.0.0", "Port": 1234, "TLS": {"Insecure": false},
                    "Auth": {"Methods": {"ClientKey": {"Type": "challenge"}}, "Oauth2": {}}
                },
                "NameProvider": "puuid", "DataDir": "/home/me/.bacalhau",
                "Orchestrator": {
                    "Enabled": true, "Host": "0.0.0.0", "Port": 4222, "Auth": {"Token": "********"}, "TLS": {},
                    "Cluster": {}, "NodeManager": {"DisconnectTimeout": "1m0s"},
                    "Scheduler": {
                        "WorkerCount": 8, "QueueBackoff": "1m0s", "HousekeepingInterval": "30s",
                        "HousekeepingTimeout": "2m0s"
                    },
                    "EvaluationBroker": {"VisibilityTimeout": "1m0s", "MaxRetryCount": 10}
                },
                "Compute": {
                    "Orchestrators": ["nats://127.0.0.1:4222"],
                    "Network": {"PortRangeStart": 20000, "PortRangeEnd": 32000}, "Auth": {},
                    "Heartbeat": {"InfoUpdateInterval": "1m0s", "Interval": "15s"},
                    "AllocatedCapacity": {"CPU": "80%", "Memory": "80%", "Disk": "80%", "GPU": "100%"},
                    "TLS": {}, "Env": {}
                },
                "WebUI": {"Listen": "0.0.0.0:8438"},
                "InputSources": {"ReadTimeout": "5m0s", "MaxRetryCount": 3, "Types": {"IPFS": {}}},
                "Publishers": {"Types": {
                    "IPFS": {}, "S3": {}, "S3Managed": {"PreSignedURLExpiration": "1h0m0s"},
                    "Local": {"Address": "127.0.0.1", "Port": 6001}
                }},
                "Engines": {"Types": {
                    "Docker": {"ManifestCache": {"Size": 1000, "TTL": "1h0m0s", "Refresh": "1h0m0s"}}, "WASM": {}
                }},
                "ResultDownloaders": {"Types": {"IPFS": {}}},
                "JobDefaults": {"Batch": full, "Ops": full, "Daemon": short, "Service": short},
                "JobAdmissionControl": {"Locality": "anywhere"},
                "Logging": {"Level": "info", "Mode": "default", "LogDebugInfoInterval": "30s"},
                "UpdateConfig": {"Interval": "24h0m0s"}, "FeatureFlags": {}
            })
        );
    }

    #[test]
    fn the_document_can_be_used_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.yaml");
        let items =
            ["Labels=Region=1.10", "WebUI.Enabled", "JobAdmissionControl.Locality=local", "DataDir=/d"];
        let items = items.iter().map(|i| Item::parse(i).unwrap()).collect();
        let before = document(&Config::load(&Sources { items, cpus: 3, ..Sources::default() }).unwrap());
        std::fs::write(&path, serde_saphyr::to_string(&before).unwrap()).unwrap();
        let after = Config::load(&Sources { items: vec![Item::File(path)], cpus: 7, ..Sources::default() });
        assert_eq!(document(&after.unwrap()), before);
    }

    #[test]
    fn rows_are_all_keys_sorted() {
        let sources = Sources { home: Some("/h".into()), cpus: 2, ..Sources::default() };
        let rows = rows(&Config::load(&sources).unwrap());
        assert!(rows.len() == crate::keys::KEYS.len() && rows.is_sorted_by_key(|row| row.key));
        let value = |key: &str| rows.iter().find(|row| row.key == key).unwrap().value.as_str();
        assert_eq!(value("Compute.Orchestrators"), "[nats://127.0.0.1:4222]");
        assert_eq!(value("Labels"), "map[]");
        assert_eq!(value("WebUI.Enabled"), "false");
        assert_eq!(value("UpdateConfig.Interval"), "24h0m0s");
        assert_eq!(value("Compute.Auth.Token"), "");
    }
}
