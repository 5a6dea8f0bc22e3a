//! Every input that was ever interesting, again: what fuzzing has found stays found.

use std::path::Path;

use super::TARGETS;

/// Runs a target with everything in its folder.
fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    // Relative, because a target folder may be shared by checkouts: Cargo runs tests in the folder of their package.
    let folder = Path::new("fuzz/corpus").join(name);
    let mut inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{name} has no input");
    for input in inputs {
        let data = std::fs::read(&input).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
            println!("the input is {}", input.display());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn stream() {
    replay("stream");
}

#[test]
fn connection() {
    replay("connection");
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn documents() {
    replay("documents");
}

#[test]
fn subjects() {
    replay("subjects");
}

#[test]
fn parameters() {
    replay("parameters");
}
