//! Precedence, files and their errors.

use super::*;
use proptest::prelude::*;
use serde_json::json;

struct Place {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources {
            home: Some(dir.path().to_owned()),
            current_dir: dir.path().to_owned(),
            cpus: 3,
            ..Sources::default()
        };
        Place { dir, sources }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self) -> Config {
        Config::load(&self.sources).unwrap()
    }
}

#[test]
fn defaults() {
    let place = Place::new();
    let config = place.load();
    assert_eq!(config.int("API.Port"), 1234);
    assert_eq!(config.list("Compute.Orchestrators"), ["nats://127.0.0.1:4222"]);
    assert_eq!(config.duration("Compute.Heartbeat.Interval"), Duration::from_secs(15));
    assert_eq!(config.int("Orchestrator.Scheduler.WorkerCount"), 3);
    assert_eq!(config.data_dir().unwrap(), place.dir.path().join(".bacalhau"));
    assert_eq!(config.json("API.Auth.Methods"), json!({"ClientKey": {"Type": "challenge"}}));
    assert!(!config.is_set("API.Port"));
}

#[test]
fn the_higher_source_wins() {
    let mut place = Place::new();
    place.file(".bacalhau/config.yaml", "api:\n  port: 1\n  host: file\nLabels: {Region: x}\n");
    assert_eq!(place.load().int("API.Port"), 1);
    assert_eq!(place.load().map("Labels").get("Region").unwrap(), "x");
    place.sources.environment.insert("BACALHAU_API_PORT".into(), "2".into());
    place.sources.environment.insert("BACALHAU_API_HOST".into(), String::new());
    let config = place.load();
    assert_eq!((config.int("API.Port"), config.text("API.Host")), (2, "file"));
    assert_eq!(config.get("API.Port").unwrap().1.to_string(), "BACALHAU_API_PORT");
    place.sources.items = vec![Item::parse("API.Port=3").unwrap(), Item::parse("API.Port=4").unwrap()];
    assert_eq!(place.load().int("API.Port"), 4);
    // A named file takes the place of the one in the data folder.
    let first = place.file("a.yaml", "Labels: {a: b}\nCompute: {Orchestrators: [x, y]}\n");
    let second = place.file("b.yaml", "Labels: {c: d}\nCompute: {Orchestrators: [z]}\n");
    place.sources.items = vec![Item::File(first), Item::File(second)];
    let config = place.load();
    assert_eq!(config.text("API.Host"), "0.0.0.0");
    assert_eq!(config.map("Labels").len(), 2);
    assert_eq!(config.list("Compute.Orchestrators"), ["z"]);
    assert_eq!(config.files.len(), 2);
}

#[test]
fn the_data_folder_decides_where_the_file_is() {
    let mut place = Place::new();
    place.file("elsewhere/config.yaml", "API: {Port: 7}\n");
    place.sources.environment.insert("BACALHAU_DIR".into(), "elsewhere".into());
    let config = place.load();
    // Relative to the working directory, which the tests do not change: only the flag form is absolute here.
    assert_eq!(config.data_dir().unwrap(), place.dir.path().join("elsewhere"));
    place.sources.items =
        vec![Item::parse(&format!("DataDir={}", place.dir.path().join("elsewhere").display())).unwrap()];
    assert_eq!(place.load().int("API.Port"), 7);
}

#[test]
fn mistakes_in_files_name_file_key_and_what_was_expected() {
    for (text, says) in [
        ("API:\n  Prot: 1\n", "\"API.Prot\" is not a valid config key. Did you mean API.Port?"),
        ("API:\n  Port: x\n", "key API.Port: config key: \"API.Port\" expects an integer value"),
        ("API: 5\n", "\"API\" is not a valid config key"),
        ("Compute:\n  Orchestrators: {a: b}\n", "is not a valid config key"),
        ("a: [1", "not valid YAML"),
        ("just text", "expects sections with keys"),
    ] {
        let mut place = Place::new();
        place.sources.items = vec![Item::File(place.file("x.yaml", text))];
        let error = Config::load(&place.sources).unwrap_err();
        assert!(error.message.contains("x.yaml: ") && error.message.contains(says), "{}", error.message);
    }
    let mut place = Place::new();
    place.sources.items =
        vec![Item::File(place.file("x.yaml", "\n")), Item::File(place.file("y.yaml", "API:\n"))];
    place.load();
}

#[test]
fn unknown_variables_are_a_warning() {
    let mut place = Place::new();
    for name in ["BACALHAU_API_PROT", "BACALHAU_API_KEY", "BACALHAU_PROFILE", "BACALHAU_SIM_SEED", "OTHER"] {
        place.sources.environment.insert(name.into(), "x".into());
    }
    let config = place.load();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("BACALHAU_API_PROT"));
    place.sources.environment.insert("BACALHAU_API_PORT".into(), "x".into());
    assert!(Config::load(&place.sources).unwrap_err().message.contains("BACALHAU_API_PORT"));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "[ -~\n]{0,80}") {
        let mut place = Place::new();
        place.sources.items = vec![Item::File(place.file("x.yaml", &text))];
        let _ = Config::load(&place.sources);
    }
}
