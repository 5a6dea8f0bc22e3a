//! The real binary with a home of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A data directory and a working directory, both empty at first.
pub struct Bacalhau {
    dir: tempfile::TempDir,
}

impl Bacalhau {
    /// Nothing is configured.
    pub fn new() -> Bacalhau {
        Bacalhau { dir: tempfile::tempdir().unwrap() }
    }

    /// The working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command that was not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bacalhau"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path().join("home"))
            .env("BACALHAU_DIR", self.dir.path().join("data"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A file in the working directory; gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// What was printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
