//! Batch jobs: what they print, their code, their results, their image, and how they fail in words.

use super::{images, job, runtime, shared, shared_with, with};
use crate::cluster::eventually;
use crate::test_registry::{TestRegistry, busybox};
use serde_json::json;

#[test]
fn docker_run_shows_output_and_history() {
    let Some(setup) = shared("run", &[]) else { return };
    let cluster = &setup.cluster;
    let run = ["docker", "run", "--name", "both", "--network", "none", "busybox", "--"];
    let printed = cluster.ok(&[&run[..], &["sh", "-c", "echo out; echo err >&2; sleep 1; exit 3"]].concat());
    assert!(printed.contains("j-"), "{printed}");
    assert_eq!(cluster.state("both"), "Completed");
    let output = setup.output("both");
    assert_eq!((&output["Stdout"], &output["stderr"]), (&json!("out\n"), &json!("err\n")), "{output}");
    assert_eq!(output["ExitCode"], 3);
    let described = cluster.ok(&["job", "describe", "both"]);
    assert!(described.contains("out\n") && described.contains("err\n"), "{described}");
    let logs = cluster.cli(&["job", "logs", "both"]);
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let history = setup.history("both");
    assert!(history.contains("Task started") && !history.contains("Pulling"), "{history}");
    setup.nothing_is_left();
}

#[test]
fn an_image_is_pulled_with_words_and_one_that_is_missing_is_named() {
    let Some(setup) = shared("pull", &[]) else { return };
    let Some(registry) = TestRegistry::start() else { return };
    let Some(layer) = busybox() else { return };
    let config = json!({"Entrypoint": ["sh", "-c"], "Cmd": ["echo pulled; sleep 1"]});
    runtime().block_on(registry.push("app:v1", images::arch(), &config, &[layer]));
    let (cluster, image) = (&setup.cluster, registry.name("app:v1"));
    cluster.ok(&["docker", "run", "--name", "pulled", "--network", "none", &image]);
    assert_eq!(setup.output("pulled")["Stdout"], "pulled\n");
    let history = setup.history("pulled");
    for words in ["Pulling image", "Pulled image", "Task started"] {
        assert!(history.contains(words), "{words}: {history}");
    }

    let missing = registry.name("missing:1");
    let refused = cluster.cli(&["docker", "run", "--name", "missing", "--network", "none", &missing]);
    assert!(!refused.status.success());
    let words = [refused.stdout, refused.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(words.contains("image not available") && words.contains(&missing), "{words}");
    setup.nothing_is_left();
}

#[test]
fn results_are_published_whatever_the_code() {
    let Some(setup) = shared("results", &[]) else { return };
    let job = job("results", "batch", "echo printed; echo kept > /outputs/file; exit 7");
    let job = with(job, "ResultPaths", json!([{"Name": "outputs", "Path": "/outputs"}]));
    setup.submit(&with(job, "Publisher", json!({"Type": "local"})));
    assert_eq!(setup.cluster.wait_final("results"), "Completed");
    assert_eq!(setup.output("results")["ExitCode"], 7);
    let target = setup.cluster.root.path().join("got");
    std::fs::create_dir(&target).unwrap();
    setup.cluster.ok(&["job", "get", "results", "--output-dir", target.to_str().unwrap()]);
    for (file, content) in [("stdout", "printed\n"), ("exitCode", "7"), ("outputs/file", "kept\n")] {
        assert_eq!(std::fs::read_to_string(target.join(file)).unwrap(), content, "{file}");
    }
    setup.nothing_is_left();
}

#[test]
fn failures_are_told_in_words() {
    let Some(setup) = shared("failures", &[]) else { return };
    let fails = |name: &str, job: serde_json::Value, words: &str| {
        setup.submit(&job);
        assert_eq!(setup.cluster.wait_final(name), "Failed");
        let (history, described) = (setup.history(name), setup.cluster.ok(&["job", "describe", name]));
        assert!(history.contains(words) && described.contains(words), "{history}\n{described}");
    };
    let engine = json!({"Type": "docker", "Params": {"Image": "busybox", "Entrypoint": ["nope"]}});
    fails(
        "no-program",
        with(job("no-program", "batch", ""), "Engine", engine),
        "failed to start container: executable file not found in $PATH: \"nope\"",
    );
    // The memory of a variable is that of the shell itself.
    let hungry = "x=0123456789abcdef; while true; do x=$x$x; done";
    fails("hungry", job("hungry", "batch", hungry), "memory limit exceeded");
    let slow =
        with(job("slow", "batch", "echo begun; sleep 600"), "Timeouts", json!({"ExecutionTimeout": 3}));
    fails("slow", slow, "Execution timed out after 3s");
    // What it printed until then is there.
    assert_eq!(setup.lines("slow"), ["begun"]);
    setup.nothing_is_left();
}

#[test]
fn a_job_is_stopped_while_it_runs() {
    let Some(setup) = shared("stop", &[]) else { return };
    setup.submit(&job(
        "stopped",
        "batch",
        "trap 'echo told to end; exit 0' TERM; echo begun; while true; do sleep 0.1; done",
    ));
    setup.more_lines("stopped", 0);
    setup.cluster.ok(&["job", "stop", "stopped"]);
    assert_eq!(setup.cluster.state("stopped"), "Stopped");
    setup.nothing_is_left();
    eventually("its last words are there", || {
        (setup.lines("stopped") == ["begun", "told to end"]).then_some(())
    });
}

#[test]
fn the_environment_is_the_tasks_and_what_the_node_allows() {
    let env =
        vec![("REGION".to_owned(), "eu-1".to_owned()), ("SECRET".to_owned(), "none of theirs".to_owned())];
    let Some(setup) = shared_with("env", &["Compute.Env.AllowList=REGION*"], env) else { return };
    let script =
        "echo $MINE $WHERE $FROM_IMAGE [$SECRET] $BACALHAU_PARTITION_INDEX/$BACALHAU_PARTITION_COUNT; pwd";
    let options = ["-e", "MINE=a b", "-e", "WHERE=env:REGION", "--workdir", "/somewhere"];
    let run = [&["docker", "run", "--name", "env", "--network", "none"], &options[..]].concat();
    setup.cluster.ok(&[&run[..], &["busybox", "--", "sh", "-c", script]].concat());
    assert_eq!(setup.output("env")["Stdout"], "a b eu-1 yes [] 0/1\n/somewhere\n");

    let run =
        ["docker", "run", "--name", "secret", "--network", "none", "-e", "X=env:SECRET", "busybox", "true"];
    let refused = setup.cluster.cli(&run);
    assert!(!refused.status.success());
    let history = setup.history("secret");
    assert!(history.contains("SECRET") && !history.contains("none of theirs"), "{history}");
}

#[test]
fn limits_are_seen_inside() {
    let Some(setup) = shared("limits", &[]) else { return };
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; \
                  cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true";
    let options = ["--cpu", "500m", "--memory", "128Mi", "--network", "none"];
    let run = [&["docker", "run", "--name", "limits"], &options[..]].concat();
    setup.cluster.ok(&[&run[..], &["busybox", "--", "sh", "-c", script]].concat());
    let printed = setup.output("limits")["Stdout"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], (128 << 20).to_string(), "{printed}");
    assert_eq!(lines[1].split(' ').next(), Some("50000"), "{printed}");
}

#[test]
fn partitions_print_side_by_side() {
    let Some(setup) = shared("partitions", &[]) else { return };
    let mut job = job("three", "batch", "seq 1 2000; echo only $BACALHAU_PARTITION_INDEX >&2");
    job["Count"] = json!(3);
    setup.submit(&job);
    let followed = setup.cluster.cli(&["job", "logs", "three", "--follow"]);
    assert!(followed.status.success());
    let (out, err) = (String::from_utf8_lossy(&followed.stdout), String::from_utf8_lossy(&followed.stderr));
    for partition in 0..3 {
        let lines = out.lines().filter_map(|line| line.split_once(&format!("/{partition} | ")));
        let numbers: Vec<&str> = lines.map(|(_, number)| number).collect();
        assert_eq!(numbers, (1..=2000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(err.matches(&format!("/{partition} | only {partition}\n")).count(), 1, "{err}");
    }
    assert_eq!(setup.cluster.wait_final("three"), "Completed");
    setup.nothing_is_left();
}
