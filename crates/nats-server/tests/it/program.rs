//! The server as a program: what suites and operators see of it.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::{Raw, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nats-server");

/// A running program with a folder of its own; both end with this value.
pub(crate) struct Program {
    pub(crate) child: Child,
    folder: PathBuf,
}

impl Program {
    /// Starts it with a configuration file, and waits until it has listened.
    pub(crate) fn start(name: &str, config: &str, args: &[&str]) -> Program {
        let folder = std::env::temp_dir().join(format!("nats-program-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("c.conf"), config).unwrap();
        let child = Command::new(PROGRAM)
            .current_dir(&folder)
            .args([
                "-c",
                "c.conf",
                "-a",
                "127.0.0.1",
                "-p",
                "-1",
                "-l",
                "log",
                "-P",
                "pid",
                "--ports_file_dir",
                ".",
            ])
            .args(args)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Program { child, folder };
        eventually("ports file", || program.ports_file().exists());
        program
    }

    fn ports_file(&self) -> PathBuf {
        self.folder.join(format!("nats-server_{}.ports", self.child.id()))
    }

    pub(crate) fn open(&self) -> Raw {
        let text = std::fs::read_to_string(self.ports_file()).unwrap();
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap();
        let url = ports["nats"][0].as_str().unwrap();
        Raw::open(url.split_once("://").unwrap().1.parse().unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Sends a signal the way suites do, by the file with the process id.
    pub(crate) fn signal(&self, order: &str) {
        let status = Command::new(PROGRAM)
            .current_dir(&self.folder)
            .arg("--signal")
            .arg(format!("{order}=pid"))
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn it_logs_writes_its_files_and_ends_in_order() {
    let mut program =
        Program::start("life", "port: 1\nauthorization { user: me, password: \"hunter2\" }", &["-D", "-js"]);
    let pid = program.child.id();
    assert_eq!(std::fs::read_to_string(program.folder.join("pid")).unwrap(), pid.to_string());
    Raw::connected(
        program.open().stream.peer_addr().unwrap(),
        r#"{"user":"me","pass":"hunter2","verbose":false}"#,
    );
    let mut raw = program.open();
    raw.send("CONNECT {\"user\":\"me\",\"pass\":\"hunter3\"}\r\nPING\r\n");
    assert!(raw.rest().contains("Authorization Violation"));
    eventually("a line of the library", || {
        program.log().contains("[DBG] ") && program.log().contains("[WRN] ")
    });

    program.signal("reload");
    eventually("an answer to reload", || program.log().contains("[INF] Reloaded server configuration"));
    std::fs::rename(program.folder.join("log"), program.folder.join("log.1")).unwrap();
    program.signal("reopen");
    eventually("a new log", || program.log().contains("File log re-opened"));
    let old = std::fs::read_to_string(program.folder.join("log.1")).unwrap();
    assert!(old.contains("[INF] Listening for client connections on 127.0.0.1:"), "{old}");
    assert!(old.contains("[INF] Server is ready") && old.contains("JetStream is not supported"), "{old}");
    assert!(old.lines().all(|line| line.starts_with(&format!("[{pid}] 20"))), "{old}");
    assert!(!old.contains("hunter"), "{old}");

    program.signal("term");
    assert!(program.end().success());
    assert!(program.log().contains("Server Exiting.."));
    assert!(!program.ports_file().exists() && !program.folder.join("pid").exists());
}

#[test]
fn flags_count_more_than_the_file_at_a_reload_too() {
    let program = Program::start("flags", "max_payload: 100", &["--max_payload", "200", "-D"]);
    let mut raw = program.open();
    assert!(raw.until("\r\n").contains("\"max_payload\":200,"));
    let reloads = |log: String| log.matches("Reloaded server configuration").count();
    std::fs::write(program.folder.join("c.conf"), "max_payload: 300\nport: 1\ndebug: false\nping_max: 7")
        .unwrap();
    program.signal("reload");
    eventually("it is reloaded", || reloads(program.log()) == 1);
    let log = program.log();
    assert!(log.contains("[INF] Reloaded: ping_max = 7"), "{log}");
    assert!(!log.contains("Reloaded: debug") && !log.contains("Reloaded: max_payload"), "{log}");
    assert!(program.open().until("\r\n").contains("\"max_payload\":200,"));
    // A file that is broken changes nothing.
    std::fs::write(program.folder.join("c.conf"), "max_payload: 300\nping_max: 9\ndebug: [").unwrap();
    program.signal("reload");
    eventually("it is refused", || program.log().contains("[ERR] Failed to reload server configuration: "));
    assert!(!program.log().contains("ping_max = 9"));
    raw.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
    raw.until("PONG\r\n");
}

#[test]
fn lame_duck_mode_ends_the_program() {
    let mut program = Program::start("duck", "debug: false", &[]);
    program.signal("ldm");
    assert!(program.end().success());
    assert!(program.log().contains("Entering lame duck mode"));
}

#[test]
fn files_of_suites_are_served_and_what_is_left_out_is_told() {
    let nothing = Program::start("nothing", "# nothing", &[]);
    assert!(nothing.log().contains("[WRN] c.conf: config has no values or is empty"), "{}", nothing.log());
    // As test suites write it.
    let text = "host: 127.0.0.1\nport: -1\nhttp: \"127.0.0.1:-1\"\nleafnodes {\n   listen: \"127.0.0.1:-1\"\n }\n\
                server_tags [\n  id:XSN5\n ]\nwebsocket {\n  port: -1\n  no_tls: true\n }\njetstream {\n  strict: true\n }\n";
    let suite = Program::start("left-out", text, &["-js", "-V"]);
    let log = suite.log();
    assert!(
        log.contains("[WRN] c.conf:4:1: \"leafnodes\" is ignored: leaf nodes are not supported"),
        "{log}"
    );
    assert!(log.contains("[WRN] c.conf:14:1: \"jetstream\" is ignored: JetStream is not supported"), "{log}");
    let ports: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(suite.ports_file()).unwrap()).unwrap();
    let mut raw = Raw::connected(suite.open().stream.peer_addr().unwrap(), "{\"verbose\":false}");
    raw.send("SUB foo 1\r\nSUB bar q 2\r\nUNSUB 2 5\r\nPING\r\n");
    raw.until("PONG\r\n");
    for line in ["<<- [SUB foo 1]", "<<- [SUB bar q 2]", "<<- [UNSUB 2 5]"] {
        assert!(suite.log().contains(line), "{}", suite.log());
    }
    for (kind, scheme) in [("nats", "nats"), ("monitoring", "http"), ("websocket", "ws")] {
        let url = ports[kind][0].as_str().unwrap();
        assert!(url.starts_with(&format!("{scheme}://127.0.0.1:")), "{url}");
    }
}

#[test]
fn it_says_what_is_wrong() {
    let run = |args: &[&str]| {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (good, out, _) = run(&["--version"]);
    assert!(good && out.starts_with("nats-server: v2."));
    for (args, word) in [
        (["--cluster", "nats://a:1"], "not supported"),
        (["-c", "there-is-no-such-file"], "there-is-no-such-file"),
        (["--foo", "1"], "not defined"),
        (["--signal", "x=1"], "unknown signal"),
    ] {
        let (good, _, err) = run(&args);
        assert!(!good && err.contains(word), "{args:?}: {err}");
    }
}

/// Shells and service managers let a program have few files open unless it asks for more.
#[test]
fn more_clients_than_the_limit_of_files_it_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", "ulimit -Sn 40 && exec \"$0\" -a 127.0.0.1 -p -1 --ports_file_dir .", PROGRAM])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // As in `Program`: it ends with this value.
    let program = Program { child, folder: folder.path().to_owned() };
    eventually("ports file", || program.ports_file().exists());
    let mut all: Vec<Raw> = (0..60).map(|_| program.open()).collect();
    for client in &mut all {
        client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.until("PONG\r\n");
    }
}
