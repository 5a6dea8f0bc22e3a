//! Modules from a real registry.

use super::componentised;
use crate::support::{Case, Node, hello, in_time, wasm};
use crate::test_registry::TestRegistry;
use bacalhau_compute::executor::Phase;
use bacalhau_model::job::meta;
use std::sync::Arc;

/// Pushes a module as `wkg` and others do; gives the digest of its name.
async fn push(registry: &TestRegistry, name: &str, module: &[u8]) -> String {
    let config = r#"{"architecture":"wasm","os":"wasip1"}"#;
    let config_digest = registry.push_blob(name, config.as_bytes()).await;
    let layer = registry.push_blob(name, module).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/wasm", "digest": layer, "size": module.len()}],
    });
    registry.push_manifest(name, "application/vnd.oci.image.manifest.v1+json", &manifest.to_string()).await
}

fn entry(reference: &str) -> Case {
    let mut case = wasm("(module)").param("EntryModule", format!("oci://{reference}"));
    case.task.input_sources.clear();
    case
}

#[tokio::test]
async fn modules_and_components_are_pulled_once() {
    let Some(registry) = TestRegistry::start() else { return };
    let node = Node::new().await;
    let module = wat::parse_str(hello("pulled")).unwrap();
    let first = push(&registry, "tools/hello:1", &module).await;
    push(&registry, "tools/component:1", &componentised(&module)).await;

    let name = registry.name("tools/hello:1");
    let (result, phases) = node.run_with_phases(entry(&name).execution()).await;
    assert_eq!(result.unwrap().run_output.stdout, "pulled");
    let Phase::Preparing(begins) = &phases[0] else { panic!("{phases:?}") };
    let Phase::Preparing(ends) = &phases[1] else { panic!("{phases:?}") };
    assert_eq!(begins, &format!("Pulling module \"oci://{name}\""));
    assert!(ends.contains(&first), "{ends}");
    assert_eq!(phases[2], Phase::Running);

    // The second time it is there: by tag, and by digest without asking anybody.
    let (result, phases) = node.run_with_phases(entry(&name).execution()).await;
    assert_eq!(result.unwrap().run_output.stdout, "pulled");
    assert_eq!(phases[0], Phase::Running);
    let component = entry(&registry.name("tools/component:1"));
    assert_eq!(node.run(component.execution()).await.unwrap().run_output.stdout, "pulled");

    // The tag moves on; a job runs what it stood for when the job was submitted.
    let second = push(&registry, "tools/hello:1", &wat::parse_str(hello("newer")).unwrap()).await;
    assert_ne!(first, second);
    assert_eq!(node.run(entry(&name).execution()).await.unwrap().run_output.stdout, "newer");
    let mut pinned = entry(&name).execution();
    let mut job = (**pinned.job.as_ref().unwrap()).clone();
    job.meta.insert(meta::IMAGE_DIGEST.into(), first.clone());
    pinned.job = Some(Arc::new(job));
    assert_eq!(node.run(pinned).await.unwrap().run_output.stdout, "pulled");
    let by_digest = format!("{}@{first}", registry.name("tools/hello"));
    drop(registry);
    assert_eq!(node.run(entry(&by_digest).execution()).await.unwrap().run_output.stdout, "pulled");
}

#[tokio::test]
async fn import_modules_are_pulled_as_well() {
    let Some(registry) = TestRegistry::start() else { return };
    let node = Node::new().await;
    let maths = r#"(module (func (export "answer") (result i32) (i32.const 42)))"#;
    push(&registry, "lib/maths:2.0", &wat::parse_str(maths).unwrap()).await;
    let main = r#"(module (import "maths" "answer" (func $answer (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "_start") (call $exit (call $answer))))"#;
    let reference = format!("oci://{}", registry.name("lib/maths:2.0"));
    let case = wasm(main).param("ImportModules", vec![reference]);
    assert_eq!(node.run(case.execution()).await.unwrap().run_output.exit_code, 42);
}

#[tokio::test]
async fn what_cannot_be_pulled_is_explained() {
    let node = Node::new().await;
    let probe = async |case: Case| node.executor.probe(&case.execution()).await.unwrap_err();
    assert!(probe(entry("NO NAME")).await.message.contains("oci://NO NAME"));

    let Some(registry) = TestRegistry::start() else { return };
    let missing = registry.name("tools/none:1");
    let error = probe(entry(&missing)).await;
    assert!(!error.retryable && error.message.contains("tools/none"), "{error}");
    let failure = node.run(entry(&missing).execution()).await.unwrap_err();
    assert!(failure.error.message.contains("tools/none"), "{failure}");

    push(&registry, "tools/text:1", b"no module").await;
    node.executor.probe(&entry(&registry.name("tools/text:1")).execution()).await.unwrap();
    let failure = node.run(entry(&registry.name("tools/text:1")).execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("failed to load module \"oci://"), "{failure}");

    let nobody = format!("127.0.0.1:{}", crate::test_registry::free_port());
    assert!(probe(entry(&format!("{nobody}/a:1"))).await.retryable);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_can_be_left() {
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let node = Node::new().await;
    let (cancel, task) = node.start(entry(&format!("{address}/a:1")).execution());
    let _connection = in_time(silent.accept()).await.unwrap();
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
}
