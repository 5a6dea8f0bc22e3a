//! What a process gets and sees.

use super::{assert_nothing_left, is_root, node, node_with, sh};
use crate::support::{inline, local};
use bacalhau_model::SpecConfig;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[tokio::test]
async fn a_program_prints_and_exits() {
    let node = node().await;
    let execution = sh("echo out; echo err >&2; exit 7").execution();
    let id = execution.id.clone();
    let finished = node.run(execution).await.unwrap();
    assert_eq!(finished.run_output.stdout, "out\n");
    assert_eq!(finished.run_output.stderr, "err\n");
    assert_eq!(finished.run_output.exit_code, 7);
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn arguments_reach_it_as_they_are() {
    let node = node().await;
    let mut case = sh("");
    let arguments: Vec<serde_json::Value> =
        vec!["%s|".into(), "a b".into(), "$HOME".into(), "*".into(), "".into()];
    case.task.engine = SpecConfig::new("EXEC").with("command", "printf").with("Arguments", arguments);
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "a b|$HOME|*||");
}

#[tokio::test]
async fn its_environment_is_its_own() {
    let node = node().await;
    let finished = node.run(sh("env | sort").env("COLOUR", "blue").execution()).await.unwrap();
    let out = finished.run_output.stdout;
    let names: Vec<&str> =
        out.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let expected = [
        "BACALHAU_EXECUTION_ID",
        "BACALHAU_JOB_ID",
        "BACALHAU_JOB_TYPE",
        "BACALHAU_PARTITION_COUNT",
        "BACALHAU_PARTITION_INDEX",
        "COLOUR",
        "HOME",
        "PATH",
        "PWD",
        "TMPDIR",
    ];
    let names: Vec<&str> =
        names.into_iter().filter(|name| !matches!(*name, "_" | "SHLVL" | "OLDPWD")).collect();
    assert_eq!(names, expected, "{out}");
    assert!(out.contains("COLOUR=blue"));
}

#[tokio::test]
async fn inputs_and_results_are_where_the_job_says() {
    let node = node().await;
    let case =
        sh("cat /inputs/a.txt /inputs/deep/b.txt > /outputs/both && echo x > /outputs/own && ls /inputs")
            .input(inline(b"one ", "/inputs/a.txt"))
            .input(inline(b"two", "/inputs/deep/b.txt"))
            .result("outputs", "/outputs")
            .publisher("local");
    let finished = node.run(case.execution()).await.unwrap();
    assert_eq!(finished.run_output.stderr, "");
    assert_eq!(finished.run_output.stdout, "a.txt\ndeep\n");
    let files = super::published(&node);
    assert_eq!(files["outputs/both"], b"one two");
    assert_eq!(files["outputs/own"], b"x\n");
    assert!(!std::path::Path::new("/inputs").exists() && !std::path::Path::new("/outputs").exists());
}

#[tokio::test]
async fn links_in_inputs_lead_nowhere_on_the_host() {
    let outside = tempfile::tempdir().unwrap();
    for is_file in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("inside")).unwrap();
        let allowed = format!("{}/**:rw", folder.path().display());
        let node = super::Node::with(|settings| {
            settings.allow_listed_local_paths = vec![allowed];
            settings.exec = Some(super::config(&settings.data_folder.join("exec")));
        })
        .await;
        let case = |place: &str| {
            let case = sh("cat /inputs/inside/good 2>&1").input(local(folder.path(), "/inputs", true));
            match is_file {
                true => case.input(inline(b"x", place)),
                false => case.result("evil", place),
            }
        };
        let failure = node.run(case("/inputs/link/evil").execution()).await.unwrap_err();
        assert!(failure.error.message.contains("leads out"), "{}", failure.error);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        node.run(case("/inputs/inside/good").execution()).await.unwrap();
    }
}

#[tokio::test]
async fn it_has_a_temporary_folder_of_its_own() {
    let node = node().await;
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    let script =
        format!("pwd; ls -A /tmp; echo x > /tmp/mine; cat $TMPDIR/mine; ls {}", outside.path().display());
    let finished = node.run(sh(&script).execution()).await.unwrap();
    assert_eq!(finished.run_output.stdout, "/tmp\nx\n");
    assert_ne!(finished.run_output.exit_code, 0);
    assert!(!std::path::Path::new("/tmp/mine").exists());
}

#[tokio::test]
async fn read_only_data_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "kept").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let allowed = format!("{}/**:rw", folder.path().display());
    let node = super::Node::with(|settings| {
        settings.allow_listed_local_paths = vec![allowed];
        settings.exec = Some(super::config(&settings.data_folder.join("exec")));
    })
    .await;
    let script = "echo no > /in/b; cat /in/a; echo yes > /rw/c";
    let case = sh(script).input(local(folder.path(), "/in", false)).input(local(folder.path(), "/rw", true));
    let finished = node.run(case.execution()).await.unwrap();
    assert_eq!(finished.run_output.stdout, "kept");
    assert!(finished.run_output.stderr.contains("Read-only"), "{}", finished.run_output.stderr);
    assert!(!folder.path().join("b").exists());
    assert_eq!(fs::read_to_string(folder.path().join("c")).unwrap(), "yes\n");
}

#[tokio::test]
async fn it_runs_as_the_user_the_operator_says() {
    if !is_root("running as somebody else") {
        return;
    }
    let who =
        "id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status; cat /inputs/a > /outputs/a";
    let case = sh(who).input(inline(b"data", "/inputs/a")).result("outputs", "/outputs").publisher("local");
    let (nobody, runner, root) = (
        node().await,
        node_with(|config| (config.user, config.group) = ("4711".into(), "4712".into())).await,
        node_with(|config| config.user = "root".into()).await,
    );
    for (node, start, powerless) in
        [(&nobody, "65534\n", true), (&runner, "4711\n4712\n4712\n", true), (&root, "0\n0\n", false)]
    {
        let finished = node.run(case.clone().execution()).await.unwrap();
        let out = finished.run_output.stdout;
        assert!(out.starts_with(start), "{out}");
        assert_eq!(out.contains("CapEff:\t0000000000000000"), powerless, "{out}");
        assert!(out.contains("NoNewPrivs:\t1"), "{out}");
        assert_eq!(finished.run_output.exit_code, 0, "{}", finished.run_output.stderr);
        assert_eq!(super::published(node)["outputs/a"], b"data");
    }
}

#[tokio::test]
async fn what_the_operator_did_not_list_does_not_run() {
    let node = node_with(|config| config.programs = vec!["/usr/bin/true".into(), "/bin/true".into()]).await;
    let execution = sh("echo hello").execution();
    for error in [
        node.executor.probe(&execution).await.unwrap_err(),
        *node.run(execution.clone()).await.unwrap_err().error,
    ] {
        assert!(error.message.contains("is not in the allowed programs of this node"), "{error}");
    }
    let mut case = sh("");
    case.task.engine = SpecConfig::new("exec").with("Command", "true");
    node.executor.probe(&case.clone().execution()).await.unwrap();
    assert_eq!(node.run(case.clone().execution()).await.unwrap().run_output.exit_code, 0);
    let error = node.executor.probe(&case.env("LD_PRELOAD", "/tmp/x.so").execution()).await.unwrap_err();
    assert!(error.message.contains("LD_PRELOAD cannot be set"), "{error}");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let node = node().await;
    let file = tempfile::tempdir().unwrap();
    fs::write(file.path().join("broken"), "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(file.path().join("broken"), fs::Permissions::from_mode(0o755)).unwrap();
    for (params, part) in [
        (vec![("Command", "no-such-program-anywhere")], "is in none of the folders"),
        (vec![("Command", "/etc/passwd")], "is not executable"),
        (vec![("Command", "/inputs/run.sh")], "cannot be found"),
        (
            vec![("Command", "true"), ("WorkingDirectory", "/nonexistent")],
            "the working directory /nonexistent is not there",
        ),
    ] {
        let mut case = sh("");
        case.task.engine = params.into_iter().fold(SpecConfig::new("exec"), |spec, (k, v)| spec.with(k, v));
        let execution = case.execution();
        let id = execution.id.clone();
        let failure = node.run(execution).await.unwrap_err();
        assert!(failure.error.message.contains(part), "{failure}");
        assert_nothing_left(&node, &id);
    }
    for (target, part) in [("/etc/passwd", "the node has something there"), ("/usr/none/x", "a folder /usr")]
    {
        let execution = sh("true").input(inline(b"x", target)).execution();
        let error = node.executor.probe(&execution).await.unwrap_err();
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_job_can_bring_its_program() {
    let node = node().await;
    let script = "#!/bin/sh\necho \"I am $0 $1\"\n";
    let mut case = sh("").input(inline(script.as_bytes(), "/inputs/run.sh"));
    let arguments: Vec<serde_json::Value> = vec!["/inputs/run.sh".into(), "x".into()];
    case.task.engine = SpecConfig::new("exec").with("Command", "sh").with("Arguments", arguments);
    case.task.engine = case.task.engine.with("WorkingDirectory", "/inputs");
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "I am /inputs/run.sh x\n");
}

#[tokio::test]
async fn files_it_made_belong_to_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let allowed = format!("{}/**:rw", folder.path().display());
    let node = super::Node::with(|settings| {
        settings.allow_listed_local_paths = vec![allowed];
        settings.exec = Some(super::config(&settings.data_folder.join("exec")));
    })
    .await;
    let case = sh("id -u; umask; echo x > /rw/f").input(local(folder.path(), "/rw", true));
    let finished = node.run(case.execution()).await.unwrap();
    let (uid, mask) = finished.run_output.stdout.split_once('\n').unwrap();
    assert_eq!(fs::metadata(folder.path().join("f")).unwrap().uid().to_string(), uid);
    assert_eq!(mask, "0022\n");
}
