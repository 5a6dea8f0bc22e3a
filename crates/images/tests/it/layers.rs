//! Layers, honest and hostile.

use crate::support::{Layer, TestRegistry, add, add_file, layer, layer_of};
use crate::{architecture, client};
use bacalhau_images::{ImageStore, StoreConfig, parse_reference};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use tar::EntryType;

/// Pushes and fetches one layer; where it is.
async fn unpack(registry: &TestRegistry, store: &ImageStore, layer: Layer) -> Result<PathBuf, String> {
    registry.push("x", &architecture(), &json!({}), &[layer]).await;
    let name = parse_reference(&registry.name("x")).unwrap();
    let image = store.get(&client(), &name, &|_, _| {}).await.map_err(|e| e.message)?;
    Ok(image.layers[0].clone())
}

fn store(dir: &tempfile::TempDir) -> ImageStore {
    let config = StoreConfig { tag_validity: std::time::Duration::ZERO, ..StoreConfig::default() };
    ImageStore::open(dir.path().join("images"), config).unwrap()
}

fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("SKIPPED: whiteouts and owners need root");
    }
    root
}

#[tokio::test]
async fn everything_that_images_have() {
    let Some(registry) = TestRegistry::start().filter(|_| is_root()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let made = layer(|tar| {
        add(tar, EntryType::Directory, "./", "", b"", 0o711);
        add(tar, EntryType::Directory, "./etc/", "", b"", 0o750);
        add(tar, EntryType::Regular, "./etc/su", "", b"program", 0o4755);
        add(tar, EntryType::Symlink, "etc/abs", "/etc/su", b"", 0o777);
        add(tar, EntryType::Link, "etc/hard", "etc/su", b"", 0o777);
        add(tar, EntryType::Fifo, "etc/pipe", "", b"", 0o622);
        add(tar, EntryType::Char, "etc/null", "", b"", 0o666);
        add_file(tar, "deep/er/file", b"1");
        add_file(tar, "deep/er/file", b"2");
        add_file(tar, "gone/.wh.lower", b"");
        add_file(tar, "opaque/.wh..wh..opq", b"");
        add_file(tar, ".wh.replaced", b"");
        add(tar, EntryType::Directory, "replaced", "", b"", 0o755);
        add_file(tar, "later/own", b"");
        add_file(tar, ".wh.later", b"");
        add_file(tar, ".wh..wh.plnk", b"");
    });
    let root = unpack(&registry, &store, made).await.unwrap();
    let mode = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("etc"), mode("etc/su"), mode("etc/pipe")), (0o711, 0o750, 0o4755, 0o622));
    assert_eq!(std::fs::read_link(root.join("etc/abs")).unwrap(), PathBuf::from("/etc/su"));
    assert_eq!(std::fs::metadata(root.join("etc/hard")).unwrap().nlink(), 2);
    assert!(!root.join("etc/null").exists());
    assert_eq!(std::fs::read(root.join("deep/er/file")).unwrap(), b"2");
    let whiteout = std::fs::symlink_metadata(root.join("gone/lower")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    for folder in ["opaque", "replaced", "later"] {
        let mut value = [0u8; 8];
        let got = rustix::fs::getxattr(root.join(folder), "trusted.overlay.opaque", &mut value[..]);
        assert_eq!((got, value[0]), (Ok(1), b'y'), "{folder}");
    }
    assert!(!root.join(".wh..wh.plnk").exists() && !root.join(".wh.plnk").exists());
    // Nobody else gets at the set-user-ID programs.
    assert_eq!(std::fs::metadata(dir.path().join("images")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn other_compressions() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let mut tar = tar::Builder::new(Vec::new());
    add_file(&mut tar, "a", b"hello");
    let tar = tar.into_inner().unwrap();
    let zstd = Layer {
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
        blob: zstd::encode_all(tar.as_slice(), 3).unwrap(),
        ..layer_of(&tar)
    };
    let plain =
        Layer { media_type: "application/vnd.oci.image.layer.v1.tar", blob: tar.clone(), ..layer_of(&tar) };
    // Two members, as some programs write it.
    let mut blob = Vec::new();
    for half in [&tar[..700], &tar[700..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(half).unwrap();
        blob.extend(encoder.finish().unwrap());
    }
    let members = Layer { blob, ..layer_of(&tar) };
    for layer in [zstd, plain, members] {
        let root = unpack(&registry, &store, layer).await.unwrap();
        assert_eq!(std::fs::read(root.join("a")).unwrap(), b"hello");
        std::fs::remove_dir_all(root.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn nothing_gets_out() {
    let Some(registry) = TestRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("file"), "safe").unwrap();
    let outside = victim.to_str().unwrap();
    let below = &outside[1..];

    for name in ["../../../x", "a/../../x", "/../x"] {
        let error = unpack(&registry, &store, layer(|tar| add_file(tar, name, b"x"))).await.unwrap_err();
        assert!(error.contains("leads out"), "{error}");
    }
    // Through links: absolute, relative, by way of several, and hard ones. They end inside.
    let up = "../".repeat(12);
    let links = layer(|tar| {
        add(tar, EntryType::Symlink, "abs", outside, b"", 0o777);
        add_file(tar, "abs/new", b"x");
        add(tar, EntryType::Symlink, "rel", &format!("{up}{below}"), b"", 0o777);
        add_file(tar, "rel/file", b"evil");
        add(tar, EntryType::Symlink, "file", &format!("{outside}/file"), b"", 0o777);
        add_file(tar, "file", b"evil");
        add(tar, EntryType::Symlink, "p", "/proc/self/root", b"", 0o777);
        add_file(tar, &format!("p/{below}/magic"), b"evil");
    });
    let root = unpack(&registry, &store, links).await.unwrap();
    assert_eq!(std::fs::read(root.join(below).join("new")).unwrap(), b"x");
    assert_eq!(std::fs::read(root.join(below).join("file")).unwrap(), b"evil");
    assert!(std::fs::symlink_metadata(root.join("file")).unwrap().is_file());

    let hard = layer(|tar| {
        add(tar, EntryType::Symlink, "abs", outside, b"", 0o777);
        add(tar, EntryType::Link, "stolen", "abs/file", b"", 0o777);
    });
    assert!(unpack(&registry, &store, hard).await.unwrap_err().contains("not there"));
    let dots = layer(|tar| add(tar, EntryType::Link, "stolen", &format!("{up}{below}/file"), b"", 0o777));
    assert!(unpack(&registry, &store, dots).await.unwrap_err().contains("leads out"));
    let removed = layer(|tar| {
        add(tar, EntryType::Symlink, "abs", outside, b"", 0o777);
        add_file(tar, "abs/.wh.file", b"");
        add_file(tar, "abs/.wh...", b"");
        add_file(tar, "abs/.wh..wh..opq", b"");
    });
    let _ = unpack(&registry, &store, removed).await;
    // A folder in place of a link, and a link in place of a folder that has something in it.
    let swapped = layer(|tar| {
        add(tar, EntryType::Symlink, "d", outside, b"", 0o777);
        add(tar, EntryType::Directory, "d", "", b"", 0o777);
        add_file(tar, "d/file", b"evil");
        add(tar, EntryType::Symlink, "d", outside, b"", 0o777);
        add(tar, EntryType::Directory, "d", "", b"", 0o700);
    });
    unpack(&registry, &store, swapped).await.unwrap();
    let loops = layer(|tar| {
        add(tar, EntryType::Symlink, "l", "l", b"", 0o777);
        add_file(tar, "l/x", b"");
    });
    assert!(unpack(&registry, &store, loops).await.unwrap_err().contains("l/x"));

    assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "safe");
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 1);
    assert_eq!(std::fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
