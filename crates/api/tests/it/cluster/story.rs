//! The recorded session once more, request by request, against a cluster of ours.

use super::compare::{Comparison, Ids};
use super::tree::Tree;
use super::{Cluster, JOBS, NODE_ID, OTHER_NODE_ID, eventually};
use crate::golden::{SAME_BEGINNING, telling};
use crate::recording::{Recording, all};
use crate::support::{Answer, get, raw};
use serde_json::json;
use std::collections::BTreeSet;

/// Answered with another status on purpose.
const IMPROVED: [(&str, u16, &str); 8] = [
    ("bad_orderby_500", 400, "the client is wrong, not the server"),
    ("results_service_500", 400, "the client is wrong, not the server"),
    ("logs_plain_get_200", 426, "an empty success hides that logs need a websocket"),
    ("job_ambiguous_500", 409, "the client can do something about it"),
    ("jobs_put_unchanged", 409, "a conflict with what is stored"),
    ("rerun_queued_500", 409, "a conflict with the state of the job"),
    ("stop_completed_500", 409, "a conflict with the state of the job"),
    ("stop_failed_500", 409, "a conflict with the state of the job"),
];
/// Parts of bodies that differ on purpose: the recording (a part of its name), the place (its end), why.
const DIFFERENT: [(&str, &str, &str); 8] = [
    ("", "SupportedProtocols", "nodes that report progress say so"),
    ("", "Items.EvalID", "each placement has an ID of its own, not that of the submission"),
    ("", "Items.Job.State", "executions show their job as it is, not as it was when they were placed"),
    ("", "Items.Job.State.StateType", "the same"),
    ("", "Items.Job.Revision", "the same"),
    ("", "Items.Revision", "counts our changes, which are fewer"),
    ("", "Items.ComputeState", "what has completed does not say Running; failures have details"),
    (
        "get_failed",
        "Items.Event.Details",
        "errors say their code and a hint; a job without nodes may be tried again",
    ),
];
/// What these say is free.
const FREE_FORM: [&str; 2] = ["agent_config", "agent_debug"];

struct Story {
    cluster: Cluster,
    recordings: Vec<Recording>,
    ids: Ids,
    told: Vec<&'static str>,
    /// Which of [`DIFFERENT`] did differ.
    differed: BTreeSet<usize>,
    problems: Vec<String>,
}

impl Story {
    /// Sends a recorded request and compares the answer.
    async fn tell(&mut self, name: &'static str) {
        self.told.push(name);
        let answer = self.ask(name).await;
        let recorded = &self.recordings.iter().find(|r| r.name == name).unwrap().answer;
        let mut comparison = Comparison { ids: &mut self.ids, differences: Vec::new() };
        let improved = IMPROVED.iter().find(|(improved, ..)| *improved == name).map(|(_, status, _)| *status);
        let status = improved.unwrap_or(recorded.status);
        if answer.status != status {
            comparison.say("status", format!("recorded {status}, ours {}", answer.status));
        }
        let (theirs, ours) = (telling(recorded), telling(&answer));
        if theirs != ours && name != "logs_plain_get_200" {
            comparison.say("headers", format!("recorded {theirs:?}, ours {ours:?}"));
        }
        if FREE_FORM.contains(&name) {
            drop(answer.json());
        } else if improved.is_some() && says_nothing(recorded) {
            assert!(!answer.message().is_empty(), "{name}");
        } else {
            bodies(name, &mut comparison, recorded, &answer);
        }
        for (place, difference) in comparison.differences {
            if improved.is_some() && place == ".Status" {
                continue; // The body repeats the status.
            }
            let known = DIFFERENT.iter().position(|(of, end, _)| name.contains(of) && place.ends_with(end));
            match known {
                Some(known) => drop(self.differed.insert(known)),
                None => self.problems.push(format!("{name}: {difference}")),
            }
        }
    }

    async fn all(&mut self, names: &[&'static str]) {
        for name in names {
            self.tell(name).await;
        }
    }

    async fn ask(&self, name: &str) -> Answer {
        let recording = self.recordings.iter().find(|r| r.name == name).unwrap();
        let request = self.ids.translate(std::str::from_utf8(&recording.request).unwrap());
        let request = request.replace("/srv/bacalhau/in", &self.cluster.input());
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut head: Vec<&str> = head.lines().collect();
        head.retain(|line| !line.starts_with("Content-Length"));
        let length = format!("Content-Length: {}", body.len());
        if !body.is_empty() {
            head.push(&length);
        }
        let request = format!("{}\r\n\r\n{body}", head.join("\r\n"));
        let mut answer = Answer::parse(&raw(&self.cluster.api, request.as_bytes()).await);
        answer.body = answer.body.replace(&self.cluster.input(), "/srv/bacalhau/in");
        answer
    }

    async fn until(&self, job: &str, state: &str) {
        self.cluster.until(job, state).await;
    }
}

/// Answers of the original that tell nobody what was wrong. Ours do, so there is nothing to compare.
fn says_nothing(recorded: &Answer) -> bool {
    recorded.body.trim().is_empty() || recorded.message() == "Internal server error"
}

fn bodies(name: &str, comparison: &mut Comparison<'_>, recorded: &Answer, ours: &Answer) {
    if recorded.body.trim().is_empty() {
        assert_eq!(ours.body.trim(), "", "{name}");
        return;
    }
    assert_eq!(recorded.body.matches('\n').count() == 1, ours.body.matches('\n').count() == 1, "{name}");
    let (mut theirs, mut tree) = (Tree::parse(&recorded.body), Tree::parse(&ours.body));
    for tree in [&mut theirs, &mut tree] {
        forget_request_id(tree);
        if name != "jobs_get_stopped_include" && name != "jobs_get_failed_include" {
            // Two executions run at the same time.
            group_history(tree);
        }
    }
    if let Some((_, beginning)) = SAME_BEGINNING.iter().find(|(same, _)| *same == name) {
        assert!(ours.message().starts_with(beginning), "{name}: {ours:?}");
        return;
    }
    comparison.compare("", &theirs, &tree);
}

/// Ours are generated when the client sends none.
fn forget_request_id(tree: &mut Tree) {
    let Tree::Object(members) = tree else { return };
    for (key, value) in members {
        if key == "RequestID" && value.text() != "abc" {
            *value = Tree::Text(String::new());
        }
    }
}

/// Lines of the job first, then those of each execution; their numbers without gaps from 1.
fn group_history(tree: &mut Tree) {
    let Tree::Object(members) = tree else { return };
    for (key, value) in members {
        match value {
            Tree::List(items) if key == "Items" && items.iter().any(|i| i.get("SeqNum").is_some()) => {
                let mut order: Vec<String> = vec![String::new()];
                for item in items.iter() {
                    let id = item.get("ExecutionID").map(Tree::text).unwrap_or_default();
                    if !order.iter().any(|known| known == id) {
                        order.push(id.to_owned());
                    }
                }
                let place = |item: &Tree| {
                    let id = item.get("ExecutionID").map(Tree::text).unwrap_or_default();
                    order.iter().position(|known| known == id)
                };
                for (i, item) in items.iter_mut().enumerate() {
                    let Tree::Object(line) = item else { continue };
                    let (key, number) = &mut line[0];
                    assert_eq!(key, "SeqNum");
                    assert_eq!(*number, Tree::Number((i + 1).into()));
                    *number = Tree::Null;
                }
                items.sort_by_key(place);
            }
            Tree::Object(_) => group_history(value),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorded_session_can_be_told_again() {
    let cluster = Cluster::start(&[NODE_ID, OTHER_NODE_ID]).await;
    let mut story = Story {
        cluster,
        recordings: all(),
        ids: Ids::default(),
        told: Vec::new(),
        differed: BTreeSet::new(),
        problems: Vec::new(),
    };
    story.tell("jobs_put_create").await;
    let early = story.ask("history_running").await.json();
    assert_eq!(early["Items"][0]["Event"]["Topic"], "Submission");
    story.told.push("history_running");
    story.until("hello", "Completed").await;
    story
        .all(&[
            "jobs_executions",
            "jobs_get",
            "jobs_get_include",
            "jobs_get_pretty",
            "jobs_history",
            "jobs_history_14x",
            "jobs_history_page1",
            "jobs_put_unchanged",
            "jobs_results",
            "jobs_rerun",
        ])
        .await;
    story.until("hello", "Completed").await;
    story.all(&["jobs_diff", "jobs_diff_same", "jobs_versions", "jobs_put_update"]).await;
    story.until("hello", "Completed").await;
    story.all(&["jobs_list_limit1", "jobs_put_service"]).await;
    story.cluster.until_execution("long", 5).await;
    story.all(&["executions_running", "results_service_500", "jobs_stop", "jobs_stop_again"]).await;
    // The submissions of the next two were not recorded.
    let mut fails = story.cluster.job("fails", "batch", "1");
    fails["Tasks"][0]["Engine"]["Params"] =
        json!({"EntryModule": "/wasm/none.wasm", "Entrypoint": "_start", "Parameters": ["1"]});
    let mut queued = story.cluster.job("queued", "batch", "1");
    queued["Tasks"][0]["Engine"]["Params"]["Entrypoint"] = json!("_start");
    queued["Tasks"][0]["Timeouts"] = json!({"QueueTimeout": 600});
    queued["Constraints"] = json!([{"Key": "zone", "Operator": "=", "Values": ["x"]}]);
    for (job, name, state) in [
        (&mut fails, "jobs_get_failed_include", "Failed"),
        (&mut queued, "jobs_get_queued_include", "Queued"),
    ] {
        job["Tasks"][0]["Publisher"] = json!({"Type": "local"});
        job["Tasks"][0]["ResultPaths"] = json!([{"Name": "outputs", "Path": "/outputs"}]);
        story.cluster.submit(job.clone()).await;
        let name_of = job["Name"].as_str().unwrap();
        story.until(name_of, state).await;
        let ours = get(&story.cluster.api, &format!("{JOBS}/{name_of}")).await.json();
        let recorded = story.recordings.iter().find(|r| r.name == name).unwrap();
        let theirs = Tree::parse(&recorded.answer.body);
        let id = theirs.get("Job").unwrap().get("ID").unwrap().clone();
        let mut comparison = Comparison { ids: &mut story.ids, differences: Vec::new() };
        comparison.compare("", &id, &Tree::Text(ours["Job"]["ID"].as_str().unwrap().to_owned()));
        assert!(comparison.differences.is_empty());
    }
    story
        .all(&[
            "jobs_get_failed_include",
            "jobs_get_stopped_include",
            "stop_completed_500",
            "stop_failed_500",
            "jobs_get_queued_include",
            "rerun_queued_500",
            "put_warnings",
        ])
        .await;
    story.until("warn", "Completed").await;
    // Nodes tell with their next heartbeat that they are idle again.
    eventually("all nodes are idle", async || {
        let listed = get(&story.cluster.api, "/api/v1/orchestrator/nodes").await.json();
        let mut nodes = listed["Nodes"].as_array().unwrap().iter().map(|n| &n["Info"]["ComputeNodeInfo"]);
        nodes.all(|n| n["AvailableCapacity"] == n["MaxCapacity"]).then_some(())
    })
    .await;
    story
        .all(&[
            "agent_alive",
            "agent_authconfig",
            "agent_config",
            "agent_debug",
            "agent_node",
            "agent_version",
            "auth_list",
            "auth_method",
            "nodes_list",
            "nodes_get",
            "nodes_get_404",
            "nodes_approve_409",
            "nodes_reject",
            "nodes_get_rejected",
            "nodes_delete",
            "redirect_root",
        ])
        .await;
    story
        .all(&[
            "bad_json_400",
            "bad_label_400",
            "bad_limit_400",
            "bad_orderby_500",
            "bad_token_400",
            "bad_type_400",
            "empty_job_400",
            "gate_400",
            "gate_403",
            "job_404",
            "job_ambiguous_500",
            "logs_plain_get_200",
            "preflight",
            "request_id",
            "route_404",
            "route_405",
            "wrong_method_404",
        ])
        .await;
    let untold = story.recordings.iter().filter(|r| !story.told.contains(&r.name.as_str()));
    assert_eq!(untold.map(|r| r.name.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(story.problems.is_empty(), "{}", story.problems.join("\n"));
    assert_eq!(story.differed, (0..DIFFERENT.len()).collect(), "no longer different");
    story.cluster.shutdown().await;
}
