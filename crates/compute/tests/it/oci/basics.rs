//! What containers run, see and give.

use super::{node, nothing_left, site};
use crate::support::{inline, local};
use bacalhau_compute::executor::Phase;
use bacalhau_model::job::meta;
use std::sync::Arc;

#[tokio::test]
async fn output_exit_code_and_phases() {
    let Some(site) = site() else { return };
    let node = node().await;
    let case = site.script("echo out; echo err >&2; exit 7");
    let (finished, phases) = node.run_with_phases(case.clone().execution()).await;
    let output = finished.unwrap().run_output;
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.exit_code), ("out\n", "err\n", 7));
    assert!(
        matches!(phases.first(), Some(Phase::Preparing(text)) if text.starts_with("Pulling image")),
        "{phases:?}"
    );
    assert_eq!(phases.last(), Some(&Phase::Running));
    // The image is here now.
    let (_, phases) = node.run_with_phases(case.execution()).await;
    assert_eq!(phases, [Phase::Running]);
    nothing_left(&node);
}

#[tokio::test]
async fn commands_like_docker_run() {
    let Some(site) = site() else { return };
    let node = node().await;
    // The job's entrypoint and parameters; no words are none.
    let cases = [
        ("", "", "entry cmd\n"),
        ("", "p q", "entry p q\n"),
        ("echo job", "", "job\n"),
        ("echo job", "p", "job p\n"),
    ];
    for (entrypoint, parameters, expected) in cases {
        let mut case = site.image("both");
        for (name, words) in [("Entrypoint", entrypoint), ("Parameters", parameters)] {
            if !words.is_empty() {
                case = case.param(name, words.split(' ').collect::<Vec<_>>());
            }
        }
        let output = node.run(case.execution()).await.unwrap().run_output;
        assert_eq!(output.stdout, expected, "{entrypoint:?} {parameters:?}: {}", output.stderr);
    }
    let case = site.image("busybox").param("Parameters", vec!["no-such-program"]);
    let failure = node.run(case.execution()).await.unwrap_err();
    let message = failure.error.message;
    assert!(
        message.starts_with("failed to start container:") && message.contains("no-such-program"),
        "{message}"
    );
    nothing_left(&node);
}

#[tokio::test]
async fn variables_user_folder_and_names() {
    let Some(site) = site() else { return };
    let node = node().await;
    let case = site
        .image("both")
        .param("Entrypoint", vec!["sh", "-c", "echo $A $B $C $HOME $HOSTNAME; hostname; cat /etc/hosts"])
        .param("EnvironmentVariables", vec!["C=engine"])
        .env("B", "task")
        .env("C", "task");
    let execution = case.execution();
    let host = execution.id[..10].to_owned();
    let output = node.run(execution).await.unwrap().run_output.stdout;
    assert!(
        output.starts_with(&format!("image task engine /root {host}\n{host}\n127.0.0.1\tlocalhost")),
        "{output}"
    );

    let case = site.image("user").param("Parameters", vec!["sh", "-c", "id; pwd; echo $HOME; touch /x"]);
    let output = node.run(case.execution()).await.unwrap().run_output;
    let expected = "uid=1000(worker) gid=1001(workers) groups=1002(extra)\n/work/dir\n/home\n";
    assert_eq!(output.stdout, expected);
    assert!(output.stderr.contains("Permission denied") && output.exit_code == 1);

    let case = site.image("user").param("WorkingDirectory", "/tmp").param("Parameters", vec!["pwd"]);
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "/tmp\n");
}

#[tokio::test]
async fn inputs_and_results() {
    let Some(site) = site() else { return };
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("data"), "from the host").unwrap();
    let path = shared.path().canonicalize().unwrap();
    let node = crate::support::Node::with(|config| {
        config.oci = super::settings(config.oci.clone());
        config.allow_listed_local_paths =
            vec![format!("{}/**:rw", path.display()), format!("{}:rw", path.display())];
    })
    .await;
    let script = "cat /in/file /ro/data; echo x > /ro/new; echo y > /rw/new; echo z > /in/file; \
                  cat /in/file; echo result > /out/r; echo gone > /anywhere";
    let case = site
        .script(script)
        .input(inline(b"inline ", "/in/file"))
        .input(local(&path, "/ro", false))
        .input(local(&path, "/rw", true))
        .result("outputs", "/out")
        .publisher("local");
    let finished = node.run(case.execution()).await.unwrap();
    assert!(finished.run_output.stderr.contains("/ro/new: Read-only"), "{}", finished.run_output.stderr);
    assert!(finished.run_output.stdout.starts_with("inline from the host"), "{}", finished.run_output.stdout);
    assert_eq!(std::fs::read_to_string(path.join("new")).unwrap(), "y\n");
    assert!(!finished.published_result.is_empty());
    nothing_left(&node);
}

#[tokio::test]
async fn a_container_is_shut_in() {
    let Some(site) = site() else { return };
    let node = node().await;
    let script = "mount -t tmpfs x /tmp 2>&1; echo x > /proc/sys/kernel/hostname; wc -c < /proc/keys; unshare -n true 2>&1; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; ls /sys/firmware | wc -l; \
                  mknod /dev/sda b 8 0 && head -c1 /dev/sda; ps | wc -l; chroot / true && echo chroot";
    let output = node.run(site.script(script).execution()).await.unwrap().run_output;
    let both = format!("{}{}", output.stdout, output.stderr);
    assert!(both.contains("mount: permission denied"), "{both}");
    assert!(both.contains("unshare(0x40000000): Operation not permitted"), "{both}");
    assert!(both.contains("NoNewPrivs:\t1") && both.contains("Seccomp:\t2"), "{both}");
    // The fourteen of Docker.
    assert!(both.contains("CapEff:\t00000000a80425fb"), "{both}");
    assert!(both.contains("/proc/sys/kernel/hostname: Read-only"), "{both}");
    assert!(both.contains("/dev/sda: Operation not permitted"), "{both}");
    assert!(both.contains("chroot\n"), "{both}");
}

#[tokio::test]
async fn what_one_writes_the_next_does_not_see() {
    let Some(site) = site() else { return };
    let node = node().await;
    let write = site.script("rm /bin/vi; echo evil > /etc/passwd; mkdir /new; ls /bin | wc -l");
    assert_eq!(node.run(write.execution()).await.unwrap().run_output.exit_code, 0);
    let look = site.script("ls /bin/vi /new; head -1 /etc/passwd");
    let output = node.run(look.execution()).await.unwrap().run_output;
    assert_eq!(output.stdout, "/bin/vi\nroot:x:0:0:root:/root:/bin/sh\n");
}

#[tokio::test]
async fn the_digest_of_the_submit_counts() {
    let Some(site) = site() else { return };
    let node = node().await;
    let mut execution = site.image("busybox").execution();
    let mut job = (**execution.job.as_ref().unwrap()).clone();
    job.meta.insert(meta::IMAGE_DIGEST.into(), format!("sha256:{}", "0".repeat(64)));
    execution.job = Some(Arc::new(job));
    let failure = node.run(execution.clone()).await.unwrap_err();
    assert!(failure.error.message.contains("image not available"), "{}", failure.error.message);
    let refused = node.executor.probe(&execution).await.unwrap_err();
    assert_eq!(refused.code, "ImageNotFound");
    assert!(node.executor.probe(&site.image("busybox").execution()).await.is_ok());
}

#[tokio::test]
async fn jobs_of_type_docker_are_served_too() {
    let Some(site) = site() else { return };
    let node = node().await;
    let mut case = site.script("echo served");
    case.task.engine.r#type = "Docker".into();
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "served\n");
}

#[tokio::test]
async fn without_its_runtime_the_engine_is_not_offered() {
    let Some(site) = site() else { return };
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().join("runtime");
    let known = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"];
    let known = known.into_iter().find(|path| std::path::Path::new(path).is_file()).unwrap();
    std::os::unix::fs::symlink(known, &runtime).unwrap();
    let node = crate::support::Node::with(|config| {
        config.oci = super::settings(config.oci.clone());
        config.oci.runtime = Some(runtime.clone());
    })
    .await;
    let version = || node.executor.engine_versions().remove("oci");
    assert!(version().is_some_and(|version| version.contains("run")));
    std::fs::remove_file(&runtime).unwrap();
    node.executor.look_at_engines().await;
    assert!(!node.executor.engines().contains(&"oci".to_owned()) && version().is_none());
    let failure = node.run(site.script("true").execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("no container runtime works on this node"), "{failure}");
    assert_eq!(failure.error.code, bacalhau_compute::engines::UNAVAILABLE);
}

#[tokio::test]
async fn many_at_the_same_time_and_much_output() {
    let Some(site) = site() else { return };
    let node = node().await;
    node.run(site.script("true").execution()).await.unwrap();
    let runs =
        (0..8).map(|number| node.run(site.script(&format!("seq 1 20000; echo {number} >&2")).execution()));
    for (number, run) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
        let output = run.unwrap().run_output;
        assert!(output.stdout_truncated && output.stdout.starts_with("1\n2\n3\n"));
        assert_eq!(output.stderr, format!("{number}\n"));
    }
    nothing_left(&node);
}
