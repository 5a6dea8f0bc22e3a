//! What is asked of registries.

use crate::support::{TestRegistry, add_file, layer};
use crate::{architecture, client, client_with};
use bacalhau_images::{Credentials, parse_reference};
use serde_json::json;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn images_and_lists_of_them() {
    let Some(registry) = TestRegistry::start() else { return };
    let layers = || [layer(|tar| add_file(tar, "a", b"x"))];
    let here = registry.push("one:here", &architecture(), &json!({"Cmd": ["a"]}), &layers()).await;
    let other = registry.push("one:other", "riscv64", &json!({"Cmd": ["b"]}), &layers()).await;
    let entry = |digest: &str, architecture: &str| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 500,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let list = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry(&other, "riscv64"), entry(&here, &architecture())]});
    let list_digest = registry.push_manifest("one:list", INDEX, &list.to_string()).await;
    let none = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(&other, "riscv64")]});
    registry.push_manifest("one:none", INDEX, &none.to_string()).await;

    let client = client();
    let name = |tag: &str| parse_reference(&registry.name(&format!("one:{tag}"))).unwrap();
    assert_eq!(client.resolve(&name("here")).await.unwrap().to_string(), here);
    assert_eq!(client.resolve(&name("list")).await.unwrap().to_string(), list_digest);
    let described = client.describe(&name("list")).await.unwrap();
    assert_eq!(described.digest.to_string(), list_digest);
    assert_eq!(described.manifest_digest.to_string(), here);
    assert_eq!(described.config.config.cmd, ["a"]);
    // By digest, of the list and of the image.
    for digest in [&list_digest, &here] {
        let pinned = parse_reference(&registry.name(&format!("one:gone@{digest}"))).unwrap();
        assert_eq!(client.describe(&pinned).await.unwrap().manifest_digest.to_string(), here);
    }

    for tag in ["other", "none"] {
        let error = client.describe(&name(tag)).await.unwrap_err();
        assert!(error.message.contains("[linux/riscv64]"), "{}", error.message);
        assert!(!error.retryable && error.hint.contains("os_arch"));
    }
    let error = client.describe(&name("missing")).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.retryable), ("ImageNotFound", false));
    assert!(error.message.contains("one:missing"), "{}", error.message);
}

#[tokio::test]
async fn no_registry_is_worth_another_try() {
    let port = crate::support::free_port();
    let name = parse_reference(&format!("127.0.0.1:{port}/a")).unwrap();
    let error = client().resolve(&name).await.unwrap_err();
    assert!(error.retryable && error.message.contains(&format!("127.0.0.1:{port}")), "{error:?}");
}

#[tokio::test]
async fn artifacts() {
    let Some(registry) = TestRegistry::start() else { return };
    let module = b"\0asm\x01\0\0\0".to_vec();
    let digest = registry.push_blob("mod:1", &module).await;
    let config = registry.push_blob("mod:1", b"{}").await;
    let manifest = |layers: serde_json::Value| {
        json!({"schemaVersion": 2, "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config, "size": 2},
            "layers": layers})
        .to_string()
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let wasm = json!({"mediaType": "application/wasm", "digest": digest, "size": module.len()});
    let text = registry.push_blob("mod:1", b"readme").await;
    let readme = json!({"mediaType": "text/plain", "digest": text, "size": 6});
    let one = registry.push_manifest("mod:1", media_type, &manifest(json!([wasm]))).await;
    registry.push_manifest("mod:two", media_type, &manifest(json!([readme, wasm]))).await;
    registry.push_manifest("mod:many", media_type, &manifest(json!([wasm, wasm]))).await;
    let client = client();
    let get = |tag: &str, most: u64| {
        let name = parse_reference(&registry.name(&format!("mod:{tag}"))).unwrap();
        let client = client.clone();
        async move { client.artifact(&name, most).await }
    };
    let artifact = get("1", 100).await.unwrap();
    assert_eq!((artifact.bytes.as_ref(), artifact.digest.to_string()), (module.as_slice(), one));
    assert_eq!(get("two", 100).await.unwrap().bytes, module);
    assert!(get("many", 100).await.unwrap_err().message.contains("one layer"));
    assert!(get("1", 7).await.unwrap_err().message.contains("8 bytes"));
}

#[tokio::test]
async fn damaged_content_is_refused() {
    let Some(registry) = TestRegistry::start() else { return };
    let layers = [layer(|tar| add_file(tar, "a", b"x"))];
    registry.push("bad:1", &architecture(), &json!({}), &layers).await;
    let name = parse_reference(&registry.name("bad:1")).unwrap();
    let client = client();
    let described = client.describe(&name).await.unwrap();
    let (blob, _) = &described.layers[0];
    // The registry's disk flips a bit.
    let hex = blob.digest.hex();
    let path =
        registry.dir.path().join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = client.blob(&name, blob, &mut Vec::new(), &|_| {}).await.unwrap_err();
    assert!(error.message.contains("damaged"), "{}", error.message);
}

#[tokio::test]
async fn credentials_in_every_way() {
    let Some(registry) = TestRegistry::start_with(Some(("user", "s3cret"))) else { return };
    let layers = [layer(|tar| add_file(tar, "a", b"x"))];
    let digest = registry.push("private:1", &architecture(), &json!({}), &layers).await;
    let name = parse_reference(&registry.name("private:1")).unwrap();
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let with = |config: serde_json::Value| {
        std::fs::write(&path, config.to_string()).unwrap();
        client_with(Credentials::from_docker_config(&path))
    };

    let error = client().resolve(&name).await.unwrap_err();
    assert_eq!(error.code, "ImageNotFound");
    assert!(error.hint.contains("docker login"));

    // "user:s3cret"
    let right = with(json!({"auths": {(host.clone()): {"auth": "dXNlcjpzM2NyZXQ="}}}));
    assert_eq!(right.resolve(&name).await.unwrap().to_string(), digest);
    // A new password counts at once.
    std::fs::write(&path, json!({"auths": {(host.clone()): {"auth": "dXNlcjp3cm9uZw=="}}}).to_string())
        .unwrap();
    let error = right.resolve(&name).await.unwrap_err();
    assert!(error.code == "ImageNotFound" && !format!("{error:?}").contains("wrong"), "{error:?}");

    // A helper, found by PATH: its absolute place is part of its name's checks, so a name with a slash is refused.
    let helper = with(json!({"credHelpers": {(host.clone()): "../evil"}}));
    assert!(helper.resolve(&name).await.unwrap_err().message.contains("docker-credential-../evil"));
    let missing = with(json!({"credsStore": "surely-not-installed"}));
    let error = missing.resolve(&name).await.unwrap_err();
    assert!(error.retryable && error.message.contains("docker-credential-surely-not-installed"));

    // Docker Hub's credentials go to Docker Hub alone.
    let hub = client_with(Credentials::none().with_docker_hub("user", "s3cret"));
    assert!(hub.resolve(&name).await.is_err());
}

/// Programs are looked for in PATH, which a test cannot change for itself: so the test runs itself once more.
#[tokio::test]
async fn a_helper_is_asked() {
    let Some(registry) = TestRegistry::start_with(Some(("user", "s3cret"))) else { return };
    let layers = [layer(|tar| add_file(tar, "a", b"x"))];
    registry.push("private:1", &architecture(), &json!({}), &layers).await;
    let dir = tempfile::tempdir().unwrap();
    let host = format!("127.0.0.1:{}", registry.port);
    std::fs::write(
        dir.path().join("config.json"),
        json!({"credHelpers": {(host.clone()): "test"}}).to_string(),
    )
    .unwrap();
    let program = dir.path().join("docker-credential-test");
    // It takes the server from its standard input and knows one.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {host} ] && echo '{{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"s3cret\"}}'\n"
    );
    let text = dir.path().join("script");
    std::fs::write(&text, script).unwrap();
    // By another process: a program that this one has written could not be started while a child that another test has
    // just forked still holds the file.
    let installed = std::process::Command::new("install").arg("-m755").args([&text, &program]).status();
    assert!(installed.unwrap().success());
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "registries::with_the_helper_in_path", "--ignored"])
        .env("PATH", path)
        .env("DOCKER_CONFIG", dir.path())
        .env("TEST_IMAGE", registry.name("private:1"))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by a_helper_is_asked"]
async fn with_the_helper_in_path() {
    let Ok(image) = std::env::var("TEST_IMAGE") else { return };
    let client = client_with(Credentials::from_environment());
    client.resolve(&parse_reference(&image).unwrap()).await.unwrap();
}
