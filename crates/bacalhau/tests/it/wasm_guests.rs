//! WebAssembly programs for tests of the whole system, and how a job came out.

use crate::cluster::Cluster;
use std::process::Output;

#[path = "../../../compute/tests/support/c_programs.rs"]
pub mod c_programs;
#[path = "../../../compute/tests/support/components.rs"]
#[allow(dead_code)] // shared with another crate
pub mod components;

/// Says `out` and `err`, then calls what `$main` is.
pub fn talking(main: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\04\00\00\00\14\00\00\00\04\00\00\00out\0aerr\0a")
            {main}
            (func (export "_start")
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
                (drop (call $fd_write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 64)))
                (call $main)))"#
    );
    wat::parse_str(text).unwrap()
}

/// An orchestrator with one node.
pub fn cluster(settings: &[&str]) -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
    cluster.add_node(&address, &settings);
    cluster.wait_connected(1);
    cluster
}

impl Cluster {
    /// Writes a program next to the client and gives its path.
    pub fn program(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.root.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `wasm run` of one execution under this name, and the execution as it ended.
    pub fn wasm_run(&self, name: &str, args: &[&str]) -> Ended {
        let started = self.cli(&[&["wasm", "run", "--name", name], args].concat());
        self.ended(name, &started)
    }

    /// Runs a job file and gives its execution as it ended.
    pub fn job_run(&self, name: &str, job: &str) -> Ended {
        let file = self.file(&format!("{name}.yaml"), job);
        let started = self.cli(&["job", "run", &file]);
        self.ended(name, &started)
    }

    fn ended(&self, name: &str, started: &Output) -> Ended {
        let printed =
            String::from_utf8_lossy(&started.stdout).into_owned() + &String::from_utf8_lossy(&started.stderr);
        assert!(printed.contains("Job successfully submitted"), "{name}: {printed}");
        let state = self.wait_final(name);
        let execution = self.json(&["job", "executions", name])[0].clone();
        let history = self.ok(&["job", "history", name]);
        Ended { state, execution, history }
    }
}

/// How a job of one execution came out.
#[derive(Debug)]
pub struct Ended {
    pub state: String,
    pub execution: serde_json::Value,
    pub history: String,
}

impl Ended {
    pub fn stdout(&self) -> &str {
        self.execution["RunOutput"]["Stdout"].as_str().unwrap_or_default()
    }

    pub fn exit_code(&self) -> i64 {
        self.execution["RunOutput"]["ExitCode"].as_i64().unwrap_or(i64::MIN)
    }

    /// It failed with these words.
    pub fn failed_with(&self, words: &str) {
        assert_eq!(self.state, "Failed", "{self:?}");
        assert!(self.history.replace("\n", " ").contains(words), "{words:?} is not in {self:?}");
    }
}
