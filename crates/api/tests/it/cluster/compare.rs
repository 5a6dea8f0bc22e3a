//! Compares what was recorded with what we answer: every member, its place, its type, and its value unless that
//! cannot be the same twice.

use super::tree::Tree;
use super::{NODE_ID, OTHER_NODE_ID};
use std::collections::HashMap;

/// Nanoseconds since 1970.
const TIMES: [&str; 2] = ["CreateTime", "ModifyTime"];
/// What depends on the machine, the build, or what happened before. Only the type is compared.
const FREE: [&str; 7] = [
    "Disk",
    "LastComputeSeqNum",
    "LastOrchestratorSeqNum",
    "ExecutionEngines",
    "Publishers",
    "StorageSources",
    "Diff",
];
/// Left out when zero, which the recorded cluster could not choose either; and additions of ours.
const MAYBE: [&str; 6] = [
    "Attempt",
    "EngineVersions",
    "LastComputeSeqNum",
    "LastOrchestratorSeqNum",
    "StartTime",
    "bacalhau.org/version-time",
];
/// Additions of ours at the top of an answer.
const ADDED: [&str; 1] = ["Connection"];

/// Which of our IDs stands for which recorded one. What is the same there must be the same here, in all answers.
#[derive(Default)]
pub struct Ids {
    ours: HashMap<String, String>,
    recorded: HashMap<String, String>,
}

impl Ids {
    /// Makes a recorded request one of ours.
    pub fn translate(&self, recorded: &str) -> String {
        self.ours.iter().fold(recorded.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn same(&mut self, recorded: &str, ours: &str) -> bool {
        let node = |id: &str| id == NODE_ID || id == OTHER_NODE_ID;
        if node(recorded) || node(ours) {
            // Either node may get the work.
            return node(recorded) && node(ours);
        }
        self.ours.entry(recorded.to_owned()).or_insert_with(|| ours.to_owned()) == ours
            && self.recorded.entry(ours.to_owned()).or_insert_with(|| recorded.to_owned()) == recorded
    }
}

/// One comparison; collects what differs.
pub struct Comparison<'a> {
    pub ids: &'a mut Ids,
    /// Where, without the numbers of items, and what.
    pub differences: Vec<(String, String)>,
}

impl Comparison<'_> {
    pub fn compare(&mut self, path: &str, recorded: &Tree, ours: &Tree) {
        let key = path.rsplit('.').next().unwrap_or_default();
        match (recorded, ours) {
            (Tree::Object(a), Tree::Object(b)) => self.members(path, a, b),
            (Tree::List(_), Tree::List(_)) if FREE.contains(&key) => {}
            (Tree::List(a), Tree::List(b)) => {
                if a.len() != b.len() {
                    self.say(path, format!("{} items recorded, {} of ours: {b:?}", a.len(), b.len()));
                }
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    self.compare(&format!("{path}[{i}]"), a, b);
                }
            }
            (Tree::Text(a), Tree::Text(b)) => {
                let fine =
                    if FREE.contains(&key) { a.is_empty() == b.is_empty() } else { self.same_text(a, b) };
                if !fine {
                    self.say(path, format!("recorded {a:?}, ours {b:?}"));
                }
            }
            (Tree::Number(a), Tree::Number(b)) => {
                let fine = if TIMES.contains(&key) {
                    b.as_i64().is_some_and(|nanos| nanos > 1_700_000_000_000_000_000)
                } else {
                    FREE.contains(&key) || a == b
                };
                if !fine {
                    self.say(path, format!("recorded {a}, ours {b}"));
                }
            }
            (a, b) if a == b => {}
            (a, b) => self.say(path, format!("recorded {} {a:?}, ours {} {b:?}", a.kind(), b.kind())),
        }
    }

    fn members(&mut self, path: &str, recorded: &[(String, Tree)], ours: &[(String, Tree)]) {
        let keys = |members: &[(String, Tree)]| -> Vec<String> {
            let added = |key: &str| MAYBE.contains(&key) || (path.is_empty() && ADDED.contains(&key));
            members.iter().map(|(key, _)| key.clone()).filter(|key| !added(key)).collect()
        };
        if keys(recorded) != keys(ours) {
            self.say(path, format!("members recorded {:?}, ours {:?}", keys(recorded), keys(ours)));
        }
        for (key, value) in recorded {
            if let Some((_, other)) = ours.iter().find(|(name, _)| name == key) {
                self.compare(&format!("{path}.{key}"), value, other);
            }
        }
    }

    fn same_text(&mut self, recorded: &str, ours: &str) -> bool {
        if is_time(recorded) {
            return is_time(ours) && recorded.starts_with("0001-") == ours.starts_with("0001-");
        }
        let (a, b) = (parts(recorded), parts(ours));
        a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| match (a, b) {
                (Part::Id(a), Part::Id(b)) => self.ids.same(a, b),
                (Part::Text(a), Part::Text(b)) => a == b,
                _ => false,
            })
    }

    pub fn say(&mut self, path: &str, difference: String) {
        let place = path.chars().filter(|c| !c.is_ascii_digit() && !"[]".contains(*c)).collect();
        self.differences.push((place, format!("{path}: {difference}")));
    }
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes.ends_with(b"Z")
}

#[derive(Debug)]
enum Part {
    Text(String),
    Id(String),
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(i, byte)| match i {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// Texts and the UUIDs between them. Short node IDs and ports are made alike.
fn parts(text: &str) -> Vec<Part> {
    let (mut found, mut plain, mut at) = (Vec::new(), String::new(), 0);
    while at < text.len() {
        if let Some(id) = text.get(at..at + 36).filter(|id| is_uuid(id)) {
            found.push(Part::Text(alike(&std::mem::take(&mut plain))));
            found.push(Part::Id(id.to_owned()));
            at += 36;
        } else {
            let character = text[at..].chars().next().unwrap();
            plain.push(character);
            at += character.len_utf8();
        }
    }
    found.push(Part::Text(alike(&plain)));
    found
}

/// Says the same as the engine that was recorded.
const ENGINE: (&str, &str) = (
    "failed to load entry module /wasm/none.wasm: module not found: \"/wasm/none.wasm\"",
    "module not found \"/wasm/none.wasm\"",
);

fn alike(text: &str) -> String {
    let text = text
        .replace(ENGINE.0, ENGINE.1)
        .replace(&NODE_ID[..8], "<node>")
        .replace(&OTHER_NODE_ID[..8], "<node>");
    let Some((before, after)) = text.split_once("http://127.0.0.1:") else { return text };
    format!("{before}http://127.0.0.1:{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}
