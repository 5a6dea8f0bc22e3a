//! Digests noted at submit.

use crate::support::{TestRegistry, add_file, layer};
use crate::{architecture, client};
use bacalhau_images::{Pinner, PinnerConfig, parse_reference, pinned};
use bacalhau_model::job::meta;
use bacalhau_model::{Job, SpecConfig, Task};
use serde_json::json;
use std::time::Duration;

fn job(engine: &str, image: &str) -> Job {
    let engine = SpecConfig::new(engine).with("Image", image);
    Job { tasks: vec![Task { engine, ..Task::default() }], ..Job::default() }
}

#[tokio::test]
async fn all_parts_of_a_job_run_the_image_of_the_submit() {
    let Some(registry) = TestRegistry::start() else { return };
    let push = |content: &'static [u8]| {
        let layers = [layer(|tar| add_file(tar, "a", content))];
        let registry = &registry;
        async move { registry.push("app:latest", &architecture(), &json!({}), &layers).await }
    };
    let first = push(b"1").await;
    let pinner = Pinner::new(client(), PinnerConfig { validity: Duration::ZERO, ..PinnerConfig::default() });
    let name = registry.name("app");
    let mut job = job("Docker", &name);
    let before = job.clone();
    pinner.pin(&mut job).await;
    assert_eq!(job.meta.get(meta::IMAGE_DIGEST), Some(&first));
    // The user's own words stay.
    assert_eq!(job.tasks, before.tasks);
    let second = push(b"2").await;
    assert_ne!(first, second);
    let image = pinned(parse_reference(&name).unwrap(), &job);
    assert_eq!(image.digest(), Some(first.as_str()));
    assert_eq!(client().describe(&image).await.unwrap().digest.to_string(), first);

    // A module of the wasm engine is pinned as well.
    let mut module = self::job("wasm", "");
    module.tasks[0].engine = SpecConfig::new("wasm").with("EntryModule", format!("oci://{name}"));
    pinner.pin(&mut module).await;
    assert_eq!(module.meta.get(meta::IMAGE_DIGEST), Some(&second));

    let mut later = before.clone();
    pinner.pin(&mut later).await;
    assert_eq!(later.meta.get(meta::IMAGE_DIGEST), Some(&second));
}

#[tokio::test]
async fn what_cannot_be_pinned_stays_as_it_is() {
    let port = crate::support::free_port();
    let config = PinnerConfig { patience: Duration::from_millis(500), ..PinnerConfig::default() };
    let pinner = Pinner::new(client(), config);
    let digest = format!("127.0.0.1:{port}/a@sha256:{}", "a".repeat(64));
    for (engine, image) in [
        ("docker", format!("127.0.0.1:{port}/a")),
        ("wasm", "a".into()),
        ("oci", digest),
        ("docker", "NO".into()),
    ] {
        let mut job = job(engine, &image);
        pinner.pin(&mut job).await;
        assert!(job.meta.is_empty(), "{image}");
    }
    // A host that swallows everything holds a submission up only so long.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = job("docker", &format!("{}/a", silent.local_addr().unwrap()));
    tokio::time::timeout(Duration::from_secs(30), pinner.pin(&mut job)).await.unwrap();
    assert!(job.meta.is_empty());
}
