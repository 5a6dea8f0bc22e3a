//! Images: what a bid finds out about them, and how they come.

use super::daemon::shared;
use super::registry::{PASSWORD, Registry, USER};
use super::{docker, images, node};
use crate::support::{Node, in_time};
use bacalhau_compute::executor::Phase;
use bacalhau_images::Credentials;
use bacalhau_model::job::meta;
use base64::Engine as _;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

fn archive(name: &str, arch: &str, says: &str) -> Vec<u8> {
    images::image(name, arch, json!({"Cmd": ["/bin/echo", says]}))
}

#[tokio::test]
async fn an_image_is_pulled_with_words_and_then_it_is_there() {
    let Some(daemon) = shared().await else { return };
    let Some(registry) = Registry::start(false).await else { return };
    registry.push(&daemon, "pulled", "v1", &archive("pulled:v1", images::arch(), "pulled")).await;
    let (node, _) = node(&daemon).await;
    let name = registry.name("pulled:v1");
    let case = docker(&name);
    node.executor.probe(&case.clone().execution()).await.unwrap();
    let (result, phases) = node.run_with_phases(case.clone().execution()).await;
    assert_eq!(result.unwrap().run_output.stdout, "pulled\n");
    let words: Vec<String> = phases
        .iter()
        .map(|phase| match phase {
            Phase::Preparing(what) => what.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(words.first().unwrap(), &format!("Pulling image {name:?}"));
    assert_eq!(words[words.len() - 2..], [format!("Pulled image {name:?}"), "Running".to_owned()]);

    drop(registry);
    let (result, phases) = node.run_with_phases(case.execution()).await;
    assert_eq!(result.unwrap().run_output.stdout, "pulled\n");
    assert_eq!(phases, [Phase::Running]);
}

#[tokio::test]
async fn a_digest_is_what_runs_whatever_the_tag_has_become() {
    let Some(daemon) = shared().await else { return };
    let Some(registry) = Registry::start(false).await else { return };
    let first = registry.push(&daemon, "moving", "v1", &archive("moving:v1", images::arch(), "first")).await;
    let second =
        registry.push(&daemon, "moving", "v1", &archive("moving:v1", images::arch(), "second")).await;
    assert_ne!(first, second);
    let (node, _) = node(&daemon).await;
    for (image, expected) in [
        ("moving:v1".to_owned(), "second\n"),
        (format!("moving@{first}"), "first\n"),
        (format!("moving:v1@{first}"), "first\n"),
        (format!("moving@{second}"), "second\n"),
    ] {
        let case = docker(&registry.name(&image));
        node.executor.probe(&case.clone().execution()).await.unwrap();
        assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, expected, "{image}");
    }
    // What the tag stood for when the job was submitted.
    let mut execution = docker(&registry.name("moving:v1")).execution();
    let job = Arc::make_mut(execution.job.as_mut().unwrap());
    job.meta.insert(meta::IMAGE_DIGEST.to_owned(), first);
    node.executor.probe(&execution).await.unwrap();
    assert_eq!(node.run(execution).await.unwrap().run_output.stdout, "first\n");
}

#[tokio::test]
async fn a_private_registry_lets_in_who_has_credentials() {
    let Some(daemon) = shared().await else { return };
    let Some(registry) = Registry::start(true).await else { return };
    registry.push(&daemon, "private", "v1", &archive("private:v1", images::arch(), "let in")).await;
    let case = docker(&registry.name("private:v1"));
    let (stranger, _) = node(&daemon).await;
    let error = stranger.executor.probe(&case.clone().execution()).await.unwrap_err();
    assert_eq!(error.message, format!("image not available: {:?}", registry.name("private:v1")));
    assert_eq!(error.code, "ImageNotFound");
    let failure = stranger.run(case.clone().execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("image not available: "), "{failure}");

    let docker_config = tempfile::tempdir().unwrap();
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let text = json!({"auths": {(registry.address.clone()): {"auth": auth}}}).to_string();
    std::fs::write(docker_config.path().join("config.json"), text).unwrap();
    let (host, folder) = (daemon.host.clone(), docker_config.path().to_path_buf());
    let node = Node::with(|config| {
        config.docker.host = host;
        config.docker.credentials = Credentials::from_docker_config(folder.join("config.json"));
    })
    .await;
    node.executor.probe(&case.clone().execution()).await.unwrap();
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.stdout, "let in\n");
}

#[tokio::test]
async fn images_for_other_platforms_are_refused_in_words() {
    let Some(daemon) = shared().await else { return };
    let other = images::other_arch();
    daemon.image(&archive("elsewhere:1", other, "x")).await;
    let (node, _) = node(&daemon).await;
    let words = format!(
        "this node does not support the available image platforms [linux/{other}] (supports [linux/{}])",
        images::arch()
    );
    // Only local, and the registry of its name does not exist: what is there says enough.
    let host = daemon.host.clone();
    let offline = Node::with(|config| {
        config.docker.host = host;
        config.docker.skip_pull = true;
    })
    .await;
    let error = offline.executor.probe(&docker("elsewhere:1").execution()).await.unwrap_err();
    assert_eq!(error.message, words);
    assert!(!error.retryable && !error.fails_execution);

    let Some(registry) = Registry::start(false).await else { return };
    registry.push(&daemon, "foreign", "v1", &archive("foreign:v1", other, "x")).await;
    let case = docker(&registry.name("foreign:v1"));
    assert_eq!(node.executor.probe(&case.execution()).await.unwrap_err().message, words);
}

#[tokio::test]
async fn what_does_not_exist_is_said_at_the_bid_and_at_the_run() {
    let Some(daemon) = shared().await else { return };
    let Some(registry) = Registry::start(false).await else { return };
    let (node, id) = node(&daemon).await;
    let name = registry.name("not-there:v1");
    let error = node.executor.probe(&docker(&name).execution()).await.unwrap_err();
    assert_eq!(error.message, format!("image not available: {name:?}"));
    assert_eq!(error.details["Image"], name);
    assert!(error.fails_execution && !error.retryable);
    let failure = node.run(docker(&name).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, format!("image not available: {name:?}"));
    let error = node.executor.probe(&docker("Bad Name").execution()).await.unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.code.as_ref()),
        ("invalid image format: \"Bad Name\"", "ImageInvalid")
    );

    // Nobody there: that is not known, and worth another try.
    let port = crate::test_registry::free_port();
    let error = node.executor.probe(&docker(&format!("127.0.0.1:{port}/x")).execution()).await.unwrap_err();
    assert!(error.retryable, "{error:?}");
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

/// A registry that accepts connections and never says a word.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_slow_registry_delays_nobody_else_and_cancelling_a_pull_works_at_once() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let (address, asked) = silent().await;
    let slow = docker(&format!("{address}/slow:v1"));
    let executor = node.executor.clone();
    let execution = slow.clone().execution();
    let probe = tokio::spawn(async move { executor.probe(&execution).await });
    let (cancel, pulling) = node.start(slow.execution());
    let both = async {
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    in_time(both).await;
    node.executor.probe(&docker("busybox").execution()).await.unwrap();
    node.run(docker("busybox").execution()).await.unwrap();
    assert!(!probe.is_finished() && !pulling.is_finished());
    cancel.cancel();
    assert!(in_time(pulling).await.unwrap().unwrap_err().is_cancelled());
    probe.abort();
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn those_who_want_the_same_image_share_one_pull() {
    let Some(daemon) = shared().await else { return };
    let Some(registry) = Registry::start(false).await else { return };
    registry.push(&daemon, "wanted", "v1", &archive("wanted:v1", images::arch(), "shared")).await;
    let gate = Gate::before(&registry.address).await;
    let (node, _) = node(&daemon).await;
    let case = docker(&format!("{}/wanted:v1", gate.address));
    let (_cancel, first) = node.start(case.clone().execution());
    in_time(gate.reached()).await;
    let (cancel_second, second) = node.start(case.clone().execution());
    let (_cancel, third) = node.start(case.execution());
    // One who goes away does not take the pull from the others.
    cancel_second.cancel();
    assert!(in_time(second).await.unwrap().unwrap_err().is_cancelled());
    gate.open();
    for run in [first, third] {
        assert_eq!(in_time(run).await.unwrap().unwrap().run_output.stdout, "shared\n");
    }
}

/// Lets connections through to a registry once it is open.
struct Gate {
    address: String,
    opened: tokio::sync::watch::Sender<bool>,
    arrivals: tokio::sync::watch::Receiver<usize>,
}

impl Gate {
    async fn before(registry: &str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let opened = tokio::sync::watch::Sender::new(false);
        let (arrived, arrivals) = tokio::sync::watch::channel(0);
        let (open, registry) = (opened.clone(), registry.to_owned());
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                arrived.send_modify(|count| *count += 1);
                let (mut open, registry) = (open.subscribe(), registry.clone());
                tokio::spawn(async move {
                    open.wait_for(|open| *open).await.map(|_| ()).unwrap();
                    let mut outside = tokio::net::TcpStream::connect(registry).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
        Gate { address, opened, arrivals }
    }

    async fn reached(&self) {
        self.arrivals.clone().wait_for(|count| *count > 0).await.map(|_| ()).unwrap();
    }

    fn open(&self) {
        self.opened.send_replace(true);
    }
}
