//! Bids and inputs.

use crate::support::{Node, hello, inline, inline_as, local, packed, wasm};
use bacalhau_model::event::topic;
use bacalhau_model::{InputSource, SpecConfig};

#[tokio::test]
async fn names_are_offered_unless_disabled() {
    let node = Node::with(|c| c.disabled_engines = vec!["Docker".into(), "oci".into()]).await;
    assert_eq!(node.executor.engines(), ["wasm"]);
    assert_eq!(node.executor.sources(), ["inline", "urldownload"]);
    assert_eq!(node.executor.publishers(), ["local", "noop"]);

    let node = Node::with(|c| {
        c.allow_listed_local_paths = vec!["/data".into()];
        c.disabled_sources = vec!["urlDownload".into()];
        c.disabled_publishers = vec!["Local".into()];
        c.disabled_engines = vec!["WASM".into(), " docker ".into(), "OCI".into()];
    })
    .await;
    assert!(node.executor.engines().is_empty());
    assert_eq!(node.executor.sources(), ["inline", "local", "localdirectory"]);
    assert_eq!(node.executor.publishers(), ["noop"]);
    let error = node.executor.probe(&wasm("(module)").execution()).await.unwrap_err();
    assert!(error.message.contains("does not support engine \"Wasm\""), "{error}");
}

#[tokio::test]
async fn a_probe_adds_up_sizes_and_finds_mistakes() {
    let node = Node::new().await;
    let case = wasm("(module)");
    let module = node.executor.probe(&case.clone().execution()).await.unwrap();
    let with_data = case.clone().input(inline(&[0; 1000], "/a")).input(inline_as(
        "application/gzip",
        &packed(&[("x", &[0; 5000])]),
        "/b",
    ));
    let probe = node.executor.probe(&with_data.execution()).await.unwrap();
    assert_eq!(probe.disk_bytes - module.disk_bytes, 6000);
    assert_eq!(probe.remote_inputs, 0);

    let mistakes = [
        (case.clone().input(local("/etc".as_ref(), "/x", false)), "does not support input source \"local\""),
        (case.clone().publisher("ipfs"), "does not support publisher \"ipfs\""),
        (case.clone().param("EntryModule", ""), "entry module"),
        (case.clone().env("A", "env:SECRET"), "environment variable 'SECRET' is not in allowed patterns"),
        (case.clone().result("../x", "/x"), "result path name"),
        (case.clone().network_type("HTTP"), "at least one domain"),
        (case.clone().input(inline_as("application/gzip", b"no", "/x")), "damaged"),
    ];
    for (case, expected) in mistakes {
        let error = node.executor.probe(&case.execution()).await.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_failing_input_names_itself_and_leaves_nothing() {
    let node = Node::new().await;
    let good = inline_as("application/gzip", &packed(&[("x", b"y")]), "/good");
    let bad = InputSource {
        source: SpecConfig::new("inline").with("URL", "nonsense"),
        target: "/bad".into(),
        ..good.clone()
    };
    let failure = node.run(wasm(&hello("x")).input(good).input(bad).execution()).await.unwrap_err();
    assert_eq!(failure.topic, topic::DOWNLOADING_INPUTS);
    assert!(failure.error.message.starts_with("input for /bad: "), "{failure}");
    assert!(failure.run_output.is_none());
    assert!(node.leftovers().is_empty());
}

#[tokio::test]
async fn ids_from_outside_never_become_paths() {
    let node = Node::new().await;
    for id in ["../evil", "", "a/b", ".hidden"] {
        let mut execution = wasm(&hello("x")).execution();
        execution.id = id.into();
        assert!(node.run(execution).await.unwrap_err().error.message.contains("no execution ID"));
    }
}
