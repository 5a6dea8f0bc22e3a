//! The envelopes of answers.

use serde::Serialize;
use serde_json::json;

use super::server::{ServerBlock, written};

/// `server` and one more key, whose value is JSON already.
pub(super) fn envelope(block: &ServerBlock, time: String, key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = b"{\"server\":".to_vec();
    bytes.extend_from_slice(&block.alone(time));
    bytes.extend_from_slice(format!(",\"{key}\":").as_bytes());
    bytes.extend_from_slice(value);
    bytes.push(b'}');
    bytes
}

/// Done as asked; there is nothing to say.
pub(crate) fn done(block: &ServerBlock, time: String) -> Vec<u8> {
    written(&json!({ "server": block.next(time) }))
}

#[derive(Serialize)]
struct Problem<'a> {
    code: u16,
    description: &'a str,
}

/// It could not be done. 400: the request was not understood.
pub(crate) fn failed(block: &ServerBlock, time: String, code: u16, description: &str) -> Vec<u8> {
    envelope(block, time, "error", &written(&Problem { code, description }))
}

/// The document of an account was replaced, or not, for a reason.
pub(crate) fn claims_updated(
    block: &ServerBlock,
    time: String,
    account: &str,
    problem: Option<&str>,
) -> Vec<u8> {
    match problem {
        None => {
            let data = json!({ "account": account, "code": 200, "message": "jwt updated" });
            envelope(block, time, "data", &written(&data))
        }
        Some(problem) => {
            let description = format!("jwt update resulted in error - {problem}");
            let error = json!({ "account": account, "code": 500, "description": description });
            envelope(block, time, "error", &written(&error))
        }
    }
}

/// There is no such document.
pub(super) fn no_data(block: &ServerBlock, time: String, description: &str) -> Vec<u8> {
    let problem = written(&Problem { code: 500, description });
    envelope(block, time, "data", &[b"null,\"error\":", problem.as_slice()].concat())
}

/// The shortest answer: which server is there?
pub(crate) fn id_only(block: &ServerBlock) -> Vec<u8> {
    #[derive(Serialize)]
    struct Id<'a> {
        name: &'a str,
        host: &'a str,
        id: &'a str,
    }
    written(&Id { name: &block.name, host: &block.host, id: &block.id })
}
