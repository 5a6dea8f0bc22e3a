//! The supervisor of a node that is not root: the same views and networks, inside a user namespace.

use super::{is_root, marker, processes};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65_534;

/// A supervisor that runs as nobody, and the node's end of its socket.
fn supervisor(folder: &std::path::Path, request: &serde_json::Value) -> (Child, BufReader<UnixStream>) {
    // Nobody can enter the folder in which programs are built.
    let program = folder.join("exec-supervisor");
    if !program.exists() {
        // Copied by another process: a program that this one has written could not be started while a child that another
        // test has just forked still holds the file.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_exec-supervisor")).arg(&program).status();
        assert!(copied.unwrap().success());
    }
    let (mut own, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(program)
        .env_clear()
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(own, "{request}").unwrap();
    (child, BufReader::new(own))
}

fn line(reader: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// A folder that nobody can use, and whether user namespaces are allowed at all.
fn prepared(what: &str) -> Option<tempfile::TempDir> {
    if !is_root(what) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut child, mut reader) =
        supervisor(dir.path(), &serde_json::json!({"Probe": {"user_namespace": true}}));
    let answer = line(&mut reader);
    child.wait().unwrap();
    if answer.trim() != r#"{"Able":{"no_view":null,"no_network":null}}"# {
        eprintln!("SKIPPED: {what} needs unprivileged user namespaces: {answer}");
        return None;
    }
    Some(dir)
}

#[test]
fn a_view_and_a_network_without_root() {
    let Some(dir) = prepared("a node that is not root") else { return };
    for name in ["view", "tmp", "data", "out"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        std::os::unix::fs::chown(dir.path().join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::write(dir.path().join("data/a"), "data").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let script = "id -u; cat /inputs/a; echo; pwd; cat /proc/net/dev | wc -l; echo x > /outputs/x; echo no > /inputs/b || echo refused; grep CapEff /proc/self/status";
    let plan = serde_json::json!({
        "program": "/bin/sh", "name": "sh", "arguments": ["-c", script], "env": [["PATH", "/usr/bin:/bin"]],
        "folder": "/tmp", "user": null, "cgroup": null, "user_namespace": true, "network": "None",
        "view": {"root": at("view"), "tmp": at("tmp"), "binds": [
            {"from": at("data"), "to": "/inputs", "is_file": false, "read_only": true},
            {"from": at("out"), "to": "/outputs", "is_file": false, "read_only": false},
        ]},
    });
    let (mut child, mut reader) = supervisor(dir.path(), &serde_json::json!({ "Run": plan }));
    assert_eq!(line(&mut reader), "\"Started\"\n");
    let mut output = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(line(&mut reader), "{\"Ended\":{\"code\":0,\"signal\":null}}\n");
    child.wait().unwrap();
    assert_eq!(output, "65534\ndata\n/tmp\n3\nrefused\nCapEff:\t0000000000000000\n");
    assert_eq!(fs::read_to_string(dir.path().join("out/x")).unwrap(), "x\n");
    assert!(!dir.path().join("data/b").exists());
}

#[test]
fn daemons_end_without_cgroups_when_the_node_is_gone() {
    let Some(dir) = prepared("ending tasks without cgroups") else { return };
    let marker = marker();
    let script = format!(
        "(setsid sh -c '(sleep 3600; exit # {marker}\n) & sleep 3600; exit # {marker}' &); echo up; sleep 3600"
    );
    let plan = serde_json::json!({
        "program": "/bin/sh", "name": "sh", "arguments": ["-c", script], "env": [], "folder": "/", "user": null,
        "cgroup": null, "user_namespace": true, "network": "Host", "view": null,
    });
    let (mut child, mut reader) = supervisor(dir.path(), &serde_json::json!({ "Run": plan }));
    assert_eq!(line(&mut reader), "\"Started\"\n");
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    // The daemon starts on its own time.
    while processes(&marker).len() < 2 {
        std::thread::yield_now();
    }
    drop(reader);
    child.wait().unwrap();
    assert_eq!(processes(&marker), Vec::<String>::new());
}
