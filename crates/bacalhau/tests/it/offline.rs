//! Commands that need no server.

use crate::bin::{Bacalhau, text};
use std::io::Write;
use std::process::Stdio;

#[test]
fn help_is_for_everybody() {
    let bacalhau = Bacalhau::new();
    for line in
        [&["--help"][..], &[], &["job"], &["help", "job"], &["job", "run", "--help"], &["serve", "-h"]]
    {
        let output = bacalhau.run(line);
        assert_eq!(output.status.code(), Some(0), "{line:?}");
        assert!(text(&output.stdout).contains("Auth Environment Variables:"), "{line:?}");
    }
}

#[test]
fn mistakes_on_the_command_line() {
    let bacalhau = Bacalhau::new();
    for (line, says) in [
        (&["nope"][..], "unknown command \"nope\""),
        (&["job", "list", "--nope"], "unknown flag: --nope"),
        (&["job", "list", "-x"], "unknown shorthand flag: 'x' in -x"),
        (&["job", "list", "--limit", "abc"], "invalid argument \"abc\" for \"--limit\" flag"),
        (&["job", "list", "--limit"], "flag needs an argument: --limit"),
        (&["job", "describe"], "accepts 1 arg(s), received 0"),
        (&["job", "list", "--output", "xml"], "should be one of [\"table\" \"csv\" \"json\" \"yaml\"]"),
        (&["-c", "Foo.Bar=1", "job", "list"], "is not a valid config key"),
        (&["--profile", "nope", "job", "list"], "profile \"nope\" not found"),
    ] {
        let output = bacalhau.run(line);
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert!(output.stdout.is_empty(), "{line:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("\nError: ") && said.contains(says), "{line:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{line:?}: {said:?}");
    }
}

#[test]
fn completion_scripts() {
    let bacalhau = Bacalhau::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = bacalhau.run(&["completion", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("bacalhau"), "{shell}");
    }
    assert_eq!(bacalhau.run(&["completion", "tcsh"]).status.code(), Some(1));
}

#[test]
fn what_is_set_is_listed_and_used() {
    let bacalhau = Bacalhau::new();
    let set = bacalhau.run(&["config", "set", "api.port=9999"]);
    assert_eq!(set.status.code(), Some(0), "{}", text(&set.stderr));
    let file = bacalhau.dir().join("data/config.yaml");
    assert!(
        text(&set.stdout).starts_with(&format!("Writing config to {}", file.display())),
        "{}",
        text(&set.stdout)
    );
    assert_eq!(bacalhau.run(&["config", "set", "Compute.Auth.Token=abc=def"]).status.code(), Some(0));
    assert_eq!(bacalhau.run(&["config", "set", "Labels=Region=eu,tier=1"]).status.code(), Some(0));
    let written = std::fs::read_to_string(&file).unwrap().to_lowercase();
    assert!(written.contains("port: 9999") && written.contains("abc=def"), "{written}");
    let list = text(&bacalhau.run(&["config", "list", "--output", "csv"]).stdout);
    let row =
        |key: &str| list.lines().find(|l| l.starts_with(&format!("{key},"))).unwrap_or_default().to_owned();
    assert!(row("API.Port").starts_with("API.Port,9999,"), "{}", row("API.Port"));
    assert!(row("Labels").to_lowercase().contains("region"), "{}", row("Labels"));
    // The client uses it.
    let alive = bacalhau.run(&["agent", "alive"]);
    assert!(text(&alive.stderr).contains("http://127.0.0.1:9999"), "{}", text(&alive.stderr));
    // A flag named like the key wins, in any case, anywhere on the line.
    let flag = bacalhau.run(&["agent", "alive", "--api.port", "9998", "--API.HOST=localhost"]);
    assert!(text(&flag.stderr).contains("http://localhost:9998"), "{}", text(&flag.stderr));
    let env = bacalhau.command(&["agent", "alive"]).env("BACALHAU_API_PORT", "9997").output().unwrap();
    assert!(text(&env.stderr).contains("http://127.0.0.1:9997"), "{}", text(&env.stderr));
    for (line, says) in [
        (&["config", "set", "foo.bar=1"][..], "is not a valid config key"),
        (&["config", "set", "API.Port=x"], "expects an integer value"),
        (&["config", "set", "API.Port"], "must provide both key and value"),
        (
            &["config", "set", "-c", "nowhere.yaml", "API.Port=1"],
            "specified configuration file doesn't exist",
        ),
    ] {
        let output = bacalhau.run(line);
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert!(text(&output.stderr).contains(says), "{line:?}: {}", text(&output.stderr));
    }
}

#[test]
fn every_key_is_listed_in_every_format() {
    let bacalhau = Bacalhau::new();
    let json = text(&bacalhau.run(&["config", "list", "--output", "json"]).stdout);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(rows.len() >= 130, "{}", rows.len());
    assert!(rows.iter().all(|r| r["Key"].is_string() && r["Description"].is_string()));
    let yaml = text(&bacalhau.run(&["config", "list", "--output", "yaml"]).stdout);
    assert!(yaml.contains("Orchestrator:"), "{yaml}");
    let table = text(&bacalhau.run(&["config", "list"]).stdout);
    assert!(table.lines().count() >= 131 && table.starts_with(" KEY "));
    assert!(!bacalhau.dir().join("data").exists(), "listing must not create anything");
}

const JOB: &str = "Name: hello\nType: batch\nTasks:\n- Name: main\n  Engine:\n    Type: wasm\n    Params: {EntryModule: /m}\n";

#[test]
fn job_files_are_checked() {
    let bacalhau = Bacalhau::new();
    let validate = |content: &str| bacalhau.run(&["job", "validate", &bacalhau.file("job.yaml", content)]);
    let good = validate(JOB);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), "OK\n".to_owned()));
    for (content, says) in [
        ("", "the job provided is invalid: no content provided"),
        ("Name: x\nTasks: []\n", "missing job type"),
        ("Name: x\nType: Batch\nTasks: []\n", "invalid job type: \"Batch\""),
        ("Name: x\nType: batch\n", "missing job tasks"),
        ("Nmae: x\nType: batch\n", "unknown field: 'Nmae' in 'Job'"),
        ("ID: j-1\nType: batch\n", "field: 'ID' in 'Job' is not allowed"),
        ("Type: batch\nCount: two\n", "is invalid type: 'string' expected: 'int"),
    ] {
        let output = validate(content);
        assert_eq!(output.status.code(), Some(1), "{content}");
        assert!(text(&output.stderr).contains(says), "{content}: {}", text(&output.stderr));
    }
    let lost = bacalhau.run(&["job", "validate", "nowhere.yaml"]);
    assert!(text(&lost.stderr).contains("open nowhere.yaml: no such file or directory"));
}

#[test]
fn a_dry_run_without_a_server_prints_a_job_that_can_be_submitted() {
    let bacalhau = Bacalhau::new();
    let first =
        bacalhau.run(&["docker", "run", "--dry-run", "--name", "n", "ubuntu", "--", "sh", "-c", "echo hi"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let yaml = text(&first.stdout);
    assert!(yaml.contains("      Parameters:\n      - sh\n      - -c\n      - echo hi\n"), "{yaml}");
    let file = bacalhau.file("dry.yaml", &yaml);
    assert_eq!(text(&bacalhau.run(&["job", "validate", &file]).stdout), "OK\n");
    // Nobody listens on port 1.
    let mut child = bacalhau
        .command(&["--api-port", "1", "job", "run", "--dry-run"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let second = child.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    assert_eq!(text(&second.stdout), yaml);
    assert!(text(&second.stderr).contains("falling back to offline mode"), "{}", text(&second.stderr));
}

#[test]
fn profiles_choose_the_server() {
    let bacalhau = Bacalhau::new();
    let said = |line: &[&str]| {
        let output = bacalhau.run(line);
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(said(&["profile", "list"]), "No profiles found\n");
    assert!(said(&["profile", "save", "a"]).contains("endpoint is required"));
    assert_eq!(
        said(&["profile", "save", "a", "--endpoint", "http://127.0.0.1:1", "--select"]),
        "Profile \"a\" saved\nSwitched to profile \"a\"\n"
    );
    said(&["profile", "save", "b", "--endpoint", "127.0.0.1:2"]);
    assert_eq!(
        said(&["profile", "list"]),
        " CURRENT  NAME  ENDPOINT            AUTH\n *        a     http://127.0.0.1:1\n          b     127.0.0.1:2\n"
    );
    assert!(said(&["agent", "alive"]).contains("http://127.0.0.1:1\n"));
    assert!(said(&["agent", "alive", "--profile", "b"]).contains("http://127.0.0.1:2\n"));
    assert!(said(&["agent", "alive", "--api-port", "3"]).contains("http://127.0.0.1:3\n"));
    assert_eq!(
        said(&["profile", "delete", "a"]).lines().last(),
        Some("Profile \"a\" is the current profile. Delete anyway? [y/N]: Deletion cancelled")
    );
    assert_eq!(said(&["profile", "delete", "a", "-f"]), "Profile \"a\" deleted\n");
    assert!(said(&["profile", "show"]).contains("no current profile set"));
    assert!(said(&["profile", "show", "b"]).starts_with("Name:        b\nEndpoint:    127.0.0.1:2\n"));
}

#[test]
fn credentials_that_contradict_each_other_are_refused() {
    let bacalhau = Bacalhau::new();
    let output = bacalhau
        .command(&["job", "list"])
        .envs([("BACALHAU_API_KEY", "hush-hush"), ("BACALHAU_API_USERNAME", "me")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("authentication error: can't use both") && !said.contains("hush"), "{said}");
}
