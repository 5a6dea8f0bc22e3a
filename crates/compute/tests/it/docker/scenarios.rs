//! What users run: entrypoints and parameters, files in and out, the environment, exit codes.

use super::daemon::shared;
use super::{docker, images, node, sh};
use crate::support::{inline, inline_as, local, packed};
use bacalhau_compute::executor::Phase;
use serde_json::json;

#[tokio::test]
async fn output_exit_code_and_phases_are_told_and_nothing_is_left() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let (result, phases) = node.run_with_phases(sh("echo out; echo err >&2; exit 3").execution()).await;
    let output = result.unwrap().run_output;
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.exit_code), ("out\n", "err\n", 3));
    assert_eq!(phases, [Phase::Running]);
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

/// The image's ENTRYPOINT and CMD against the job's Entrypoint and Parameters: as `docker run` does it.
#[tokio::test]
async fn entrypoints_and_parameters_behave_like_docker_run() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    for (name, config) in [
        ("both:1", json!({"Entrypoint": ["/bin/echo", "E"], "Cmd": ["C"]})),
        ("entry:1", json!({"Entrypoint": ["/bin/echo", "E"]})),
        ("cmd:1", json!({"Cmd": ["/bin/echo", "C"]})),
        ("neither:1", json!({})),
    ] {
        daemon.image(&images::image(name, images::arch(), config)).await;
    }
    let echo = ["/bin/echo", "J"];
    let none: [&str; 0] = [];
    for (image, entrypoint, parameters, expected) in [
        ("both:1", &none[..], &none[..], "E C\n"),
        ("both:1", &none, &["P"], "E P\n"),
        ("both:1", &echo, &none, "J\n"),
        ("both:1", &echo, &["P"], "J P\n"),
        ("both:1", &[""], &["/bin/echo", "P"], "P\n"),
        ("entry:1", &none, &none, "E\n"),
        ("entry:1", &none, &["P"], "E P\n"),
        ("entry:1", &echo, &["P"], "J P\n"),
        ("cmd:1", &none, &none, "C\n"),
        ("cmd:1", &none, &["/bin/echo", "P"], "P\n"),
        ("cmd:1", &echo, &none, "J\n"),
        ("neither:1", &none, &["/bin/echo", "P"], "P\n"),
        ("neither:1", &echo, &["P", "two words", "$HOME"], "J P two words $HOME\n"),
    ] {
        let case =
            docker(image).param("Entrypoint", entrypoint.to_vec()).param("Parameters", parameters.to_vec());
        let output = node.run(case.execution()).await.unwrap().run_output;
        assert_eq!(output.stdout, expected, "{image} {entrypoint:?} {parameters:?}");
    }
    let failure = node.run(docker("neither:1").execution()).await.unwrap_err();
    assert!(failure.error.message.contains("No command specified"), "{failure}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let failure =
        node.run(docker("busybox").param("Entrypoint", vec!["nope"]).execution()).await.unwrap_err();
    let message = &failure.error.message;
    assert!(message.starts_with("failed to start container: executable file not found"), "{message}");
    assert!(message.contains("nope"), "{message}");
    let failure = node
        .run(docker("busybox").param("Entrypoint", vec!["/bin/no-program"]).execution())
        .await
        .unwrap_err();
    assert!(failure.error.message.starts_with("failed to start container: permission denied"), "{failure}");
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_usual_programs_read_inputs_and_write_results() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let text = b"apple,1\nbanana,20\ncherry,3\n";
    let with_input = |script: &str| sh(script).input(inline(text, "/in/fruit.csv"));
    for (script, expected) in [
        ("cat /in/fruit.csv", "apple,1\nbanana,20\ncherry,3\n"),
        ("grep an /in/fruit.csv", "banana,20\n"),
        ("sed -e s/banana/kiwi/ -n -e 2p /in/fruit.csv", "kiwi,20\n"),
        ("awk -F, '{sum += $2} END {print sum}' /in/fruit.csv", "24\n"),
    ] {
        assert_eq!(node.run(with_input(script).execution()).await.unwrap().run_output.stdout, expected);
    }
    let case =
        with_input("cat /in/fruit.csv > /outputs/copy").result("outputs", "/outputs").publisher("local");
    let finished = node.run(case.execution()).await.unwrap();
    let archive =
        std::fs::read_dir(node.dir.path().join("compute/results/local-publisher")).unwrap().next().unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(
        std::fs::File::open(archive.unwrap().path()).unwrap(),
    ));
    let mut found = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
        found.insert(entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_owned(), content);
    }
    assert_eq!(found["outputs/copy"].as_bytes(), text);
    assert_eq!(found["exitCode"], "0");
    assert!(!finished.published_result.is_empty());
}

#[tokio::test]
async fn results_are_published_whatever_the_exit_code() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let finished = node.run(sh("echo before; exit 7").publisher("local").execution()).await.unwrap();
    assert_eq!(finished.run_output.exit_code, 7);
    assert!(!finished.published_result.is_empty());
}

#[tokio::test]
async fn folders_are_mounted_for_any_user_and_read_only_where_told() {
    let Some(daemon) = shared().await else { return };
    daemon
        .image(&images::image("user:1", images::arch(), json!({"User": "user", "Env": ["PATH=/bin"]})))
        .await;
    let (node, _) = node(&daemon).await;
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("data"), "from the host").unwrap();
    let archive = inline_as("application/gzip", &packed(&[("a/b.txt", b"packed")]), "/in");
    let case =
        docker("user:1").param("Entrypoint", vec!["sh", "-c", "id -u; cat /in/a/b.txt"]).input(archive);
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "1000\npacked");

    let (host_path, pattern) = (host.path(), format!("{}/**:rw", host.path().display()));
    let docker_host = daemon.host.clone();
    let node = crate::support::Node::with(|config| {
        config.docker.host = docker_host;
        config.allow_listed_local_paths = vec![pattern, host_path.display().to_string() + ":rw"];
    })
    .await;
    let script = "cat /ro/data; echo no > /ro/new; echo yes > /rw/new";
    let case = sh(script).input(local(host_path, "/ro", false)).input(local(host_path, "/rw", true));
    let output = node.run(case.execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "from the host");
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(host.path().join("new")).unwrap(), "yes\n");
}

#[tokio::test]
async fn the_engines_environment_wins_over_the_systems_and_that_over_the_tasks() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let case = sh("echo $A $B $FROM_IMAGE ${BACALHAU_JOB_TYPE} ${BACALHAU_JOB_ID:+job}; pwd")
        .env("A", "task")
        .env("B", "task")
        .env("BACALHAU_JOB_TYPE", "mine")
        .param("EnvironmentVariables", vec!["B=engine=1"])
        .param("WorkingDirectory", "/made/for/it");
    let output = node.run(case.execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "task engine=1 yes batch job\n/made/for/it\n");

    let case = sh("true").param("EnvironmentVariables", vec!["BACALHAU_JOB_ID=x"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("invalid docker engine param: "), "{failure}");
}

#[tokio::test]
async fn a_lot_of_output_arrives_whole_and_apart() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let execution = sh("seq 1 60000; seq 1 300 >&2; printf end").execution();
    let id = execution.id.clone();
    node.run(execution).await.unwrap();
    let expected: String = (1..=60000).map(|n| format!("{n}\n")).collect::<String>() + "end";
    let (stdout, stderr) = super::streams(node.executor.logs(), &id).await;
    assert!(stdout == expected, "{} of {} bytes", stdout.len(), expected.len());
    assert_eq!(stderr, (1..=300).map(|n| format!("{n}\n")).collect::<String>());
}
