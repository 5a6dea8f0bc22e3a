//! What Bacalhau 1.9 answered is answered again: status, headers, and the body byte by byte.

use crate::fake::Fake;
use crate::recording::{Recording, all};
use crate::support::{Answer, parts, raw, start};
use bacalhau_api::server::{Compute, Parts, Reply, Server};
use bacalhau_model::{NodeInfo, lenient};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Answered differently on purpose: the status we give.
pub const IMPROVED: [(&str, u16); 3] =
    [("bad_orderby_500", 400), ("results_service_500", 400), ("logs_plain_get_200", 426)];
/// The texts of parsers differ; what they begin with does not.
pub const SAME_BEGINNING: [(&str, &str); 2] = [
    ("bad_json_400", "code=400, message=Syntax error: offset=8, error="),
    ("bad_type_400", "code=400, message=Unmarshal type error: expected=int, got=string, field=Count"),
];
/// Members are the same, but not in the same order, or what they say is free.
const FREE_FORM: [&str; 2] = ["agent_config", "agent_debug"];
/// Differ by nature.
const NOT_COMPARED: [&str; 5] = ["date", "content-length", "transfer-encoding", "connection", "x-request-id"];

struct Node(NodeInfo);

impl Compute for Node {
    fn info(&self) -> BoxFuture<'_, NodeInfo> {
        Box::pin(std::future::ready(self.0.clone()))
    }

    fn debug(&self) -> Reply<'_, Map<String, Value>> {
        Box::pin(std::future::ready(Ok(Map::new())))
    }
}

async fn replay(recording: &Recording) -> Answer {
    let mut world = recording.world();
    if recording.name == "results_service_500" {
        let mut job = bacalhau_model::Job { r#type: "service".into(), ..Default::default() };
        job.id = recording.path().split('/').nth(5).unwrap().to_owned();
        world.jobs.push(job);
    }
    let fake = Arc::new(Fake::new(world));
    let mut parts: Parts = parts(&fake);
    if recording.name.starts_with("agent_") {
        let body: Value = serde_json::from_str(&recording.answer.body).unwrap();
        parts.config = body["config"].clone();
        if body.get("NodeID").is_some() {
            parts.compute = Some(Arc::new(Node(lenient::from_value(body).unwrap())));
        }
    }
    let server = start(Server::new(parts)).await;
    Answer::parse(&raw(&server, &recording.request).await)
}

/// Headers that say something, sorted.
pub fn telling(answer: &Answer) -> Vec<(String, String)> {
    let telling = answer.headers.iter().filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
    let mut found: Vec<_> = telling.cloned().collect();
    found.sort();
    found
}

/// The request ID of an error is ours to choose.
pub fn without_id(answer: &Answer) -> String {
    match request_id(answer) {
        Some(id) => answer.body.replace(&format!("\"RequestID\":\"{id}\""), "\"RequestID\":\"\""),
        None => answer.body.clone(),
    }
}

fn request_id(answer: &Answer) -> Option<String> {
    let body = serde_json::from_str::<Value>(&answer.body).ok()?;
    Some(body.get("RequestID")?.as_str()?.to_owned())
}

#[tokio::test]
async fn recordings_are_answered_alike() {
    let recordings = all();
    assert!(recordings.len() > 50);
    for recording in &recordings {
        let (name, recorded) = (recording.name.as_str(), &recording.answer);
        let answer = replay(recording).await;
        if let Some((_, status)) = IMPROVED.iter().find(|(improved, _)| *improved == name) {
            assert_eq!(answer.status, *status, "{name}: {answer:?}");
            answer.message();
            continue;
        }
        assert_eq!(answer.status, recorded.status, "{name}: {answer:?}");
        assert_eq!(telling(&answer), telling(recorded), "{name}");
        assert_eq!(
            answer.header("x-request-id").is_some(),
            recorded.header("x-request-id").is_some(),
            "{name}"
        );
        if let Some(id) = request_id(&answer) {
            assert_eq!(answer.header("x-request-id"), Some(id.as_str()), "{name}");
        }
        if let Some((_, beginning)) = SAME_BEGINNING.iter().find(|(same, _)| *same == name) {
            assert!(answer.message().starts_with(beginning), "{name}: {answer:?}");
        } else if FREE_FORM.contains(&name) {
            assert_eq!(name == "agent_config", answer.json() == recorded.json(), "{name}");
        } else {
            assert_eq!(without_id(&answer), without_id(recorded), "{name}");
        }
    }
}
