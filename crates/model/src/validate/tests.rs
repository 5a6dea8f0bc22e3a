//! Each text of the rules once.

use super::*;
use crate::network::{NetworkConfig, NetworkType, PortMapping};
use crate::selector::Requirement;
use crate::task::{InputSource, ResourcesConfig, ResultPath, Timeouts};

fn good() -> Job {
    let task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    Job { r#type: "batch".into(), count: 1, tasks: vec![task], ..Job::default() }
}

/// The problems of a job after a change to it.
fn problems(change: impl FnOnce(&mut Job)) -> String {
    let mut job = good();
    change(&mut job);
    submission(&job).map_or_else(|errors| errors.join("\n"), |()| String::new())
}

fn of_task(change: impl FnOnce(&mut Task)) -> String {
    problems(|job| change(&mut job.tasks[0])).replace("task main validation failed: ", "")
}

#[test]
fn jobs() {
    assert_eq!(problems(|_| {}), "");
    assert_eq!(problems(|j| j.r#type.clear()), "missing job type");
    assert_eq!(problems(|j| j.r#type = "Batch".into()), "invalid job type: \"Batch\"");
    assert_eq!(problems(|j| j.count = -1), "job count must be >= 0");
    let ops = problems(|j| {
        j.r#type = "ops".into();
        j.count = 2;
    });
    assert_eq!(ops, "ops jobs cannot specify count > 1 as they run on all matching nodes");
    assert_eq!(problems(|j| j.tasks.clear()), "missing job tasks");
    assert_eq!(problems(|j| j.name = "a\0".into()), "job Name contains a null character");
    let blank = problems(|j| j.constraints.push(Requirement::default()));
    assert_eq!(blank, "constraint 1 validation failed: selector key cannot be blank");
    assert_eq!(problems(|j| j.tasks[0].name.clear()), "task  validation failed: missing task name");
}

#[test]
fn tasks() {
    assert_eq!(of_task(|t| t.engine = SpecConfig::default()), "invalid engine: nil spec config");
    assert_eq!(
        of_task(|t| t.engine = SpecConfig::new("Exec").with("Command", "")),
        "invalid exec engine params: Command cannot be empty: name a program such as \"/usr/bin/sort\" or \"sort\""
    );
    assert_eq!(of_task(|t| t.engine = SpecConfig::new("exec").with("Command", "sort")), "");
    assert_eq!(
        of_task(|t| t.engine = SpecConfig::new(" ").with("a", 1)),
        "invalid engine: missing spec type"
    );
    assert_eq!(
        of_task(|t| t.timeouts.queue_timeout = -3),
        "invalid timeouts: invalid queue timeout value: -3s"
    );
    assert_eq!(
        of_task(|t| t.resources = ResourcesConfig { gpu: "x".into(), ..Default::default() }),
        "invalid resources: invalid GPU value: x"
    );
    for (name, value, why) in [
        ("foo", "x", "environment variable 'foo' must be uppercase"),
        ("1A", "x", "environment variable '1A' must start with a letter"),
        ("A-B", "x", "environment variable 'A-B' can only contain letters, numbers, and underscores"),
        ("BACALHAU_X", "x", "environment variable 'BACALHAU_X' cannot start with BACALHAU_"),
        ("A", "", "environment variable 'A' cannot have empty value"),
        ("", "x", "environment variable name cannot be empty"),
        ("A_1", "x", ""),
    ] {
        assert_eq!(of_task(|t| drop(t.env.insert(name.into(), value.into()))), why);
    }
}

#[test]
fn inputs_and_results() {
    let input = |alias: &str, target: &str| InputSource {
        source: SpecConfig::new("inline"),
        alias: alias.into(),
        target: target.into(),
    };
    let of = |inputs: Vec<InputSource>| of_task(|t| t.input_sources = inputs);
    assert_eq!(of(vec![input("", "")]), "invalid input sources: input source is missing a target");
    assert!(
        of(vec![input("a", "/x"), input("a", "/y")]).contains("input source with alias 'a' already exists")
    );
    assert!(
        of(vec![input("", "/x"), input("", "/x")]).contains("input source with target '/x' already exists")
    );
    let result = |name: &str, path: &str| ResultPath { name: name.into(), path: path.into() };
    let of = |results: Vec<ResultPath>| of_task(|t| t.result_paths = results);
    assert_eq!(of(vec![result("n", "")]), "invalid output: missing path");
    assert_eq!(of(vec![result("", "/p")]), "invalid output: missing name");
    assert_eq!(of(vec![result("n", "p")]), "invalid output: result path `p` must be absolute");
    assert!(
        of(vec![result("n", "/p"), result("n", "/q")]).contains("result path with name 'n' already exists")
    );
    assert!(of(vec![result("n", "/p"), result("m", "/p")]).contains("result path '/p' already exists"));
}

#[test]
fn networks() {
    let port = |name: &str, r#static: i64, target: i64| PortMapping {
        name: name.into(),
        r#static,
        target,
        ..PortMapping::default()
    };
    let of = |r#type, domains: &[&str], ports: Vec<PortMapping>| {
        let domains = domains.iter().map(|d| (*d).to_owned()).collect();
        of_task(|t| t.network = Some(NetworkConfig { r#type, domains, ports }))
    };
    use NetworkType::{Bridge, Default, Host, Http};
    let wrong = |text: &str| format!("invalid network: {text}");
    for (r#type, domains, ports, why) in [
        (Default, vec!["a.com"], vec![], "domains can only be set for HTTP network mode"),
        (Http, vec!["a b"], vec![], "invalid domain \"a b\""),
        (Http, vec!["."], vec![], "invalid domain \".\""),
        (Default, vec![], vec![port("a", 0, 0)], "ports can only be set for Host or Bridge network modes"),
        (Host, vec![], vec![port("", 0, 0)], "port mapping name is required"),
        (
            Host,
            vec![],
            vec![port("1", 0, 0)],
            "port name must be a valid environment variable name: start with letter/underscore and contain only letters, numbers, and underscores",
        ),
        (Host, vec![], vec![port(&"a".repeat(238), 0, 0)], "port name too long (max 237 characters)"),
        (Host, vec![], vec![port("a", 80, 0)], "static port 80 is in privileged port range (1-1023)"),
        (Host, vec![], vec![port("a", 70_000, 0)], "static port 70000 is above maximum valid port 65535"),
        (Host, vec![], vec![port("a", -1, 0)], "invalid static port -1"),
        (Host, vec![], vec![port("a", 0, 80)], "target ports cannot be set for Host network mode"),
        (Bridge, vec![], vec![port("a", 0, 65_536)], "invalid target port 65536"),
        (Bridge, vec![], vec![port("a", 2000, 0), port("a", 0, 0)], "duplicate port mapping name \"a\""),
        (
            Bridge,
            vec![],
            vec![port("a", 2000, 0), port("b", 2000, 0)],
            "duplicate port mapping static port 2000",
        ),
        (Bridge, vec![], vec![port("a", 0, 8), port("b", 0, 8)], "duplicate port mapping target port 8"),
    ] {
        assert_eq!(of(r#type, &domains, ports), wrong(why));
    }
    assert_eq!(of(Http, &["*.*.com"], vec![]), wrong("invalid domain \"*.*.com\""));
    assert_eq!(of(Http, &[".a.com", "*.b.com", "10.0.0.1", "_dmarc.a-b.com", "::1"], vec![]), "");
    assert_eq!(of(Bridge, &[], vec![port("a", 1024, 80), port("_b", 0, 0)]), "");
    let address = |text: &str| PortMapping { host_network: text.into(), ..port("a", 0, 0) };
    assert_eq!(of(Host, &[], vec![address("here")]), wrong("invalid host network IP address: here"));
    assert_eq!(of(Host, &[], vec![address("127.0.0.1")]), "");
}

#[test]
fn resources_and_timeouts() {
    for (cpu, memory, disk, gpu, why) in [
        ("x", "", "", "", "invalid resources: invalid CPU value: x"),
        ("", "x", "", "", "invalid resources: invalid memory value: x"),
        ("", "", "1 zb", "", "invalid resources: invalid disk value: 1 zb"),
        ("", "", "", "-1", "invalid resources: invalid GPU value: -1"),
        (" 500M", "1 GB", "2Gi", "1", ""),
    ] {
        let [cpu, memory, disk, gpu] = [cpu, memory, disk, gpu].map(str::to_owned);
        assert_eq!(of_task(|t| t.resources = ResourcesConfig { cpu, memory, disk, gpu }), why);
    }
    assert_eq!(
        of_task(|t| t.timeouts = Timeouts { execution_timeout: -1, queue_timeout: 0, total_timeout: -90 }),
        "invalid timeouts: invalid execution timeout value: -1s\ninvalid timeouts: invalid total timeout value: -1m30s"
    );
}

#[test]
fn a_submission_may_carry_an_id_that_will_be_dropped() {
    assert_eq!(problems(|j| j.id = "a b".into()), "");
    let late = |id: &str| {
        let mut job = good();
        job.id = id.into();
        complete(&job).map_or_else(|errors| errors.join("\n"), |()| String::new())
    };
    assert_eq!(late(""), "missing job ID");
    assert_eq!(late("a b"), "job ID contains a space");
    assert_eq!(late("a\0"), "job ID contains a null character");
    assert_eq!(late("my-service"), "");
}

#[test]
fn after_defaults() {
    let mut job = good();
    job.id = "j-1".into();
    job.tasks[0].timeouts = Timeouts { execution_timeout: 120, queue_timeout: 0, total_timeout: 60 };
    job.tasks[0].result_paths.push(ResultPath { name: "a".into(), path: "/a".into() });
    let errors = complete(&job).unwrap_err();
    assert!(errors[0].ends_with("publisher must be set if result paths are set"));
    assert_eq!(
        errors[1],
        "task timeouts validation failed: execution timeout 2m0s and queue timeout 0s should be less than total timeout 1m0s"
    );
    job.tasks[0] = good().tasks.remove(0);
    assert!(complete(&job).is_ok());
}
