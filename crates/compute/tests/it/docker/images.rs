//! Images made here: one layer with a static busybox, and whatever configuration a test wants.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Programs of busybox that tests use by name.
const APPLETS: [&str; 28] = [
    "sh", "cat", "grep", "sed", "awk", "wget", "nc", "echo", "sleep", "env", "true", "false", "ls", "id",
    "head", "tail", "yes", "httpd", "touch", "mkdir", "rm", "pwd", "printf", "seq", "dd", "kill", "trap",
    "chmod",
];

/// `busybox:latest` for this machine, which runs a shell.
pub(crate) fn busybox() -> Vec<u8> {
    image("busybox:latest", arch(), json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"]}))
}

/// This machine's architecture in Go's word.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Another one.
pub(crate) fn other_arch() -> &'static str {
    if arch() == "amd64" { "arm64" } else { "amd64" }
}

/// An archive for `docker load`.
pub(crate) fn image(name: &str, arch: &str, config: Value) -> Vec<u8> {
    let layer = layer(name);
    let diff_id = format!("sha256:{:x}", Sha256::digest(&layer));
    let config = json!({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut builder = tar::Builder::new(Vec::new());
    let files = [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().into_bytes()),
    ];
    for (path, content) in files {
        append(&mut builder, path, 0o644, &content);
    }
    builder.into_inner().unwrap()
}

/// The root file system. A file with the name of the image makes layers differ.
fn layer(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let busybox = std::fs::read(super::daemon::which("busybox").unwrap()).unwrap();
    append(&mut builder, "bin/busybox", 0o755, &busybox);
    append(&mut builder, "etc/image", 0o644, name.as_bytes());
    append(&mut builder, "etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n");
    append(&mut builder, "bin/no-program", 0o644, b"text");
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o777);
    header.set_size(0);
    builder.append_data(&mut header, "tmp/", std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    builder.append_data(&mut header, path, content).unwrap();
}
