//! Images on disk.

use crate::support::{Layer, TestRegistry, add, add_file, layer};
use crate::{architecture, client};
use bacalhau_images::{Image, ImageStore, Registry, RegistryConfig, StoreConfig, parse_reference};
use bacalhau_model::Error;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tar::EntryType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

async fn get(store: &ImageStore, client: &Registry, name: &str) -> Result<Image, Error> {
    store.get(client, &parse_reference(name).unwrap(), &|_, _| {}).await
}

fn big(name: &str, bytes: usize) -> Layer {
    layer(|tar| add_file(tar, name, &vec![b'x'; bytes]))
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn fetched_once_and_shared() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images"), StoreConfig::default()).unwrap();
    let base = || big("base", 300_000);
    registry.push("a:1", &architecture(), &json!({"User": "7"}), &[base(), big("a", 10)]).await;
    registry.push("b:1", &architecture(), &json!({}), &[base(), big("b", 10)]).await;
    let client = client();
    let most = AtomicU64::new(0);
    let name = parse_reference(&registry.name("a:1")).unwrap();
    let tell = |came: u64, all: u64| {
        assert!(came <= all);
        most.fetch_max(came * 100 / all, Ordering::Relaxed);
    };
    let image = store.get(&client, &name, &tell).await.unwrap();
    assert_eq!(most.load(Ordering::Relaxed), 100);
    assert_eq!((image.config.user.as_str(), image.layers.len()), ("7", 2));
    assert_eq!(std::fs::read(image.layers[0].join("base")).unwrap().len(), 300_000);

    // The same layer for another image, and many who want it at the same time.
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (store, client, name) = (store.clone(), client.clone(), registry.name("b:1"));
            tokio::spawn(async move { get(&store, &client, &name).await.unwrap().layers })
        })
        .collect();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap()[0], image.layers[0]);
    }
    assert_eq!(count(&dir.path().join("images/layers")), 3);
    assert_eq!(count(&dir.path().join("images/tmp")), 0);

    // Without the registry, after a restart: what is here is used.
    drop(registry);
    let store = ImageStore::open(dir.path().join("images"), StoreConfig::default()).unwrap();
    assert_eq!(store.cached(&name).unwrap().layers, image.layers);
    let config = StoreConfig { tag_validity: Duration::ZERO, ..StoreConfig::default() };
    let store = ImageStore::open(dir.path().join("images"), config).unwrap();
    assert!(store.cached(&name).is_none());
    assert_eq!(store.get(&client, &name, &|_, _| {}).await.unwrap().layers, image.layers);
}

#[tokio::test]
async fn a_tag_that_moved_is_seen_and_its_digest_is_not_forgotten() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { tag_validity: Duration::ZERO, ..StoreConfig::default() };
    let store = ImageStore::open(dir.path().join("images"), config).unwrap();
    let client = client();
    let first = registry.push("a:1", &architecture(), &json!({}), &[big("one", 10)]).await;
    let before = get(&store, &client, &registry.name("a:1")).await.unwrap();
    registry.push("a:1", &architecture(), &json!({}), &[big("two", 10)]).await;
    let after = get(&store, &client, &registry.name("a:1")).await.unwrap();
    assert_ne!(before.layers, after.layers);
    let pinned = get(&store, &client, &registry.name(&format!("a@{first}"))).await.unwrap();
    assert_eq!(pinned.layers, before.layers);
}

#[tokio::test]
async fn room_is_made_but_not_under_those_who_use_it() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    let config = StoreConfig { max_bytes: 250_000, ..StoreConfig::default() };
    let store = ImageStore::open(&folder, config).unwrap();
    let client = client();
    for name in ["a", "b", "c"] {
        registry.push(name, &architecture(), &json!({}), &[big(name, 100_000)]).await;
    }
    let a = get(&store, &client, &registry.name("a")).await.unwrap();
    drop(get(&store, &client, &registry.name("b")).await.unwrap());
    let c = get(&store, &client, &registry.name("c")).await.unwrap();
    // `a` is the oldest, but it is in use.
    assert!(a.layers[0].join("a").exists() && c.layers[0].join("c").exists());
    assert_eq!(count(&folder.join("layers")), 2);
    assert!(store.cached(&parse_reference(&registry.name("b")).unwrap()).is_none());
    let layers = a.layers.clone();
    drop(a);
    drop(c);
    // What the next life of the node holds stays, too.
    let next = ImageStore::open(&folder, StoreConfig { max_bytes: 0, ..config }).unwrap();
    let held = next.hold(&[layers[0].clone(), "/no/such/layer".into()]);
    assert!(next.collect().await > 0 && layers[0].join("a").exists());
    assert_eq!(count(&folder.join("layers")), 1);
    drop(held);
    let small = ImageStore::open(&folder, StoreConfig { max_bytes: 0, ..config }).unwrap();
    assert_eq!(small.collect().await, 0);
    assert_eq!((count(&folder.join("layers")), count(&folder.join("names"))), (0, 0));
    assert_eq!(count(&folder.join("tmp")), 0);
}

#[tokio::test]
async fn a_crash_in_the_middle_leaves_nothing() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    drop(ImageStore::open(&folder, StoreConfig::default()).unwrap());
    // What a killed node leaves: half a layer, half a blob, half a record.
    std::fs::create_dir_all(folder.join("tmp/abc/layer/fs")).unwrap();
    std::fs::write(folder.join("tmp/abc/layer/fs/half"), "x").unwrap();
    std::fs::write(folder.join("tmp/abc/blob"), "x").unwrap();
    std::fs::write(folder.join("names/0123.json"), r#"{"Name":"#).unwrap();
    let store = ImageStore::open(&folder, StoreConfig::default()).unwrap();
    assert_eq!((count(&folder.join("tmp")), count(&folder.join("names"))), (0, 0));

    // A pull that is given up, and one whose layer was lost from the disk.
    registry.push("a", &architecture(), &json!({}), &[big("a", 100_000)]).await;
    let client = client();
    let name = registry.name("a");
    drop(Box::pin(tokio::time::timeout(Duration::from_micros(1), get(&store, &client, &name))).await);
    let image = get(&store, &client, &name).await.unwrap();
    std::fs::remove_dir_all(image.layers[0].parent().unwrap()).unwrap();
    let image = get(&store, &client, &name).await.unwrap();
    assert!(image.layers[0].join("a").exists());
    assert_eq!(count(&folder.join("tmp")), 0);
}

#[tokio::test]
async fn what_is_too_large_or_other_than_announced_is_refused() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_image_bytes: 1 << 20, ..StoreConfig::default() };
    let store = ImageStore::open(dir.path().join("images"), config).unwrap();
    let client = client();
    // A small blob that unpacks to much.
    registry.push("bomb", &architecture(), &json!({}), &[big("x", 50 << 20)]).await;
    let error = get(&store, &client, &registry.name("bomb")).await.unwrap_err();
    assert!(error.message.contains("1048576 bytes"), "{}", error.message);
    // A name of many megabytes, which a reader would hold in memory.
    let long = layer(|tar| {
        add(tar, EntryType::GNULongName, "././@LongLink", "", &vec![b'a'; 10 << 20], 0);
        add_file(tar, "x", b"");
    });
    registry.push("long", &architecture(), &json!({}), &[long]).await;
    let error = get(&store, &client, &registry.name("long")).await.unwrap_err();
    assert!(error.message.contains("2 MiB"), "{}", error.message);
    let lies = Layer { diff_id: crate::support::sha256(b"other"), ..big("x", 10) };
    registry.push("lies", &architecture(), &json!({}), &[lies]).await;
    let error = get(&store, &client, &registry.name("lies")).await.unwrap_err();
    assert!(error.message.contains("the image says"), "{}", error.message);
    let garbage = Layer { blob: vec![0x1f, 0x8b, 1, 2, 3], ..big("x", 10) };
    registry.push("garbage", &architecture(), &json!({}), &[garbage]).await;
    assert!(get(&store, &client, &registry.name("garbage")).await.unwrap_err().message.contains("damaged"));
    assert_eq!(count(&dir.path().join("images/layers")) + count(&dir.path().join("images/tmp")), 0);
}

/// A registry that has what another one has, but for one blob, for which whoever wants it waits for ever.
async fn slow(other: u16, blob: String) -> (u16, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Notify::new()));
    let tell = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (blob, tell) = (blob.clone(), Arc::clone(&tell));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    // It speaks plain HTTP only.
                    match client.read_u8().await {
                        Ok(byte) if !head.is_empty() || byte.is_ascii_uppercase() => head.push(byte),
                        _ => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                if head.contains(&blob) {
                    tell.notify_one();
                    std::future::pending::<()>().await;
                }
                let mut server = TcpStream::connect(("127.0.0.1", other)).await.unwrap();
                let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                server.write_all(head.as_bytes()).await.unwrap();
                let _ = tokio::io::copy(&mut server, &mut client).await;
            });
        }
    });
    (port, asked)
}

#[tokio::test]
async fn a_slow_registry_holds_up_nobody_who_has_the_same_layer_from_another() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images"), StoreConfig::default()).unwrap();
    // One that does not lose its patience.
    let config = RegistryConfig { read_timeout: Duration::from_secs(3_600), ..RegistryConfig::default() };
    let client = Registry::new(config).unwrap();
    registry.push("a", &architecture(), &json!({}), &[big("a", 1_000)]).await;
    let name = registry.name("a");
    let described = client.describe(&parse_reference(&name).unwrap()).await.unwrap();
    let (port, asked) = slow(registry.port, described.layers[0].0.digest.to_string()).await;
    let waiting = tokio::spawn({
        let (store, client, name) = (store.clone(), client.clone(), format!("127.0.0.1:{port}/a"));
        async move { get(&store, &client, &name).await }
    });
    tokio::time::timeout(Duration::from_secs(60), asked.notified()).await.unwrap();
    let image = tokio::time::timeout(Duration::from_secs(60), get(&store, &client, &name)).await;
    assert!(image.expect("it need not wait").unwrap().layers[0].join("a").exists());
    waiting.abort();
}
