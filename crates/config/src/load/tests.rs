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
    assert_eq!(config.data_dir().unwrap(), place.dir.path().join("elsewhere"));
    assert_eq!(config.int("API.Port"), 7, "a relative folder is looked up in the working directory");
    // A file may say that everything else is in another folder.
    place.sources.environment.clear();
    place.file(".bacalhau/config.yaml", "DataDir: ~/third\n");
    assert_eq!(place.load().data_dir().unwrap(), place.dir.path().join("third"));
    place.sources.items = vec![Item::parse("DataDir=~").unwrap()];
    assert_eq!(place.load().data_dir().unwrap(), place.dir.path());
}

#[test]
fn a_data_folder_that_is_nowhere() {
    for (items, home, says) in [
        (&["DataDir="][..], Some("/h"), "data dir path is empty"),
        (&[], None, "data dir path is empty"),
        (&["DataDir=$HOME/x"], Some("/h"), "data dir path \"/w/$HOME/x\" contains a '$' character"),
        (&["DataDir=~/x"], None, "data dir path \"~/x\" is not an absolute path"),
    ] {
        let mut place = Place::new();
        let file = Item::File(place.file("x.yaml", "API: {Port: 1}\n"));
        let items = items.iter().map(|i| Item::parse(i).unwrap());
        place.sources.items = std::iter::once(file).chain(items).collect();
        place.sources.home = home.map(PathBuf::from);
        place.sources.current_dir = "/w".into();
        // Never the working directory instead.
        assert_eq!(place.load().data_dir().unwrap_err().message, says);
    }
}

/// Every combination of sources, for a value of each kind: the highest one that is there wins and is named.
#[test]
fn precedence() {
    for (key, yaml, texts) in [
        ("API.Host", ["a", "b", "c"], ["d", "e", "f"]),
        ("API.Port", ["1", "2", "3"], ["4", "5", "6"]),
        ("Engines.Types.Docker.ManifestCache.Size", ["1", "2", "3"], ["4", "5", "6"]),
        ("Compute.Heartbeat.Interval", ["1s", "2s", "3s"], ["4s", "5s", "6s"]),
        ("Compute.Orchestrators", ["[a]", "[b]", "[c, d]"], ["e,f", "g", "h"]),
        ("Labels", ["{a: '1'}", "{a: '2'}", "{a: '3'}"], ["a=4", "a=5", "a=6"]),
        ("WebUI.Enabled", ["true", "false", "true"], ["false", "true", "false"]),
        ("JobAdmissionControl.Locality", ["local", "anywhere", "local"], ["anywhere", "local", "1"]),
    ] {
        let known = find(key).unwrap();
        for sources in 0..64_u32 {
            let has = |bit: u32| sources >> bit & 1 == 1;
            let mut place = Place::new();
            let mut expected = (place.load().get(key).unwrap().0.display(), "default".to_owned());
            let shown = |text: &str| Value::from_text(known, text).unwrap().display();
            let plain = |yaml: &str| yaml.replace(['[', ']', '{', '}', '\'', ' '], "").replace(':', "=");
            if has(0) {
                let path = place.file(".bacalhau/config.yaml", &format!("{key}: {}\n", yaml[0]));
                // It is the default file, and not looked at when others are named.
                if !has(1) && !has(2) {
                    expected = (shown(&plain(yaml[0])), path.display().to_string());
                }
            }
            for (bit, name) in [(1, "first.yaml"), (2, "second.yaml")] {
                if has(bit) {
                    let text = yaml[bit as usize];
                    let path = place.file(name, &format!("{}: {text}\n", key.to_lowercase()));
                    expected = (shown(&plain(text)), path.display().to_string());
                    place.sources.items.push(Item::File(path));
                }
            }
            if has(3) {
                place.sources.environment.insert(known.env(), texts[0].to_owned());
                expected = (shown(texts[0]), known.env());
            }
            for (bit, text) in [(4, texts[1]), (5, texts[2])] {
                if has(bit) {
                    place.sources.items.insert(0, Item::parse(&format!("{key}={}", texts[1])).unwrap());
                    if bit == 5 {
                        place.sources.items.push(Item::parse(&format!("{key}={text}")).unwrap());
                    }
                    expected = (shown(text), "command line".to_owned());
                }
            }
            let config = place.load();
            let (value, origin) = config.get(key).unwrap();
            assert_eq!((value.display(), origin.to_string()), expected, "{key} {sources:06b}");
        }
    }
}

#[test]
fn nothing_prints_secrets() {
    let mut place = Place::new();
    place.sources.items =
        ["Compute.Auth.Token=hush", "Compute.Orchestrators=hush@h,b"].map(|i| Item::parse(i).unwrap()).into();
    place.sources.environment.insert("BACALHAU_ORCHESTRATOR_AUTH_TOKEN".into(), "hush".into());
    place.sources.environment.insert("BACALHAU_API_KEY".into(), "hush".into());
    let config = place.load();
    assert_eq!(config.text("Orchestrator.Auth.Token"), "hush");
    let shown = format!("{config:?} {:?}", place.sources);
    assert!(shown.contains("BACALHAU_API_KEY") && shown.contains("b") && !shown.contains("hush"), "{shown}");
}

#[test]
fn mistakes_in_files_name_file_key_and_what_was_expected() {
    for (text, says) in [
        ("API:\n  Prot: 1\n", "\"API.Prot\" is not a valid config key. Did you mean API.Port?"),
        ("API:\n  Port: x\n", "key API.Port: config key: \"API.Port\" expects an integer value"),
        ("API: 5\n", "\"API\" is not a valid config key. It is a section of several keys."),
        ("API: {Port: 1}\napi: {port: 2}\n", "key API.Port is there twice, as API.Port and as api.port"),
        ("API: {Auth: {Users: 5}}\n", "key API.Auth.Users: expects a list, found a text"),
        ("WebUI: {Enabled: maybe}\n", "\"WebUI.Enabled\" expects a boolean value, received: \"maybe\""),
        ("Labels: [a]\n", "key Labels: expects texts by name, found a list"),
        ("Compute:\n  Orchestrators: {a: b}\n", "is not a valid config key"),
        ("a: [1", "not valid YAML at line 1, column "),
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
    let large = place.file("large.yaml", &"# nothing\n".repeat(200_000));
    std::fs::write(place.dir.path().join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    for (name, says) in
        [("large.yaml", "too many for a configuration file"), ("binary.yaml", "UTF-8"), ("no.yaml", "")]
    {
        place.sources.items = vec![Item::File(large.with_file_name(name))];
        let error = Config::load(&place.sources).unwrap_err().message;
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
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

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(
        key in proptest::sample::select(KEYS),
        value in "[ -~]{0,20}|\\[[a-z, ]{0,9}\\]|\\{[a-z:, ]{0,9}\\}|\\PC{0,8}",
    ) {
        let mut place = Place::new();
        place.sources.items = vec![Item::File(place.file("x.yaml", &format!("{}: {value}\n", key.path)))];
        let loaded = Config::load(&place.sources);
        prop_assert!(loaded.is_ok() || loaded.unwrap_err().message.contains("x.yaml: "));
        let _ = Item::parse(&format!("{}={value}", key.path)).map(|item| format!("{item:?}"));
    }
}
