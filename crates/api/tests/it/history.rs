//! The cursor that clients wait with: there until nothing can follow.

use crate::fake::{Fake, World};
use crate::support::{Answer, ask, get, serve};
use bacalhau_model::{ComputeState, Event, Execution, HistoryType, Job, JobHistory, JobState, Time};

const HISTORY: &str = "/api/v1/orchestrator/jobs/j-1/history";
const EXECUTION: &str = "e-11111111-1111-4111-8111-111111111111";

fn line(seq_num: u64, execution_id: &str) -> JobHistory {
    let r#type = if execution_id.is_empty() { HistoryType::JobLevel } else { HistoryType::ExecutionLevel };
    JobHistory {
        seq_num,
        r#type,
        job_id: "j-1".into(),
        job_version: 1,
        execution_id: execution_id.into(),
        event: Event::new("Topic", format!("line {seq_num}"), Time::ZERO),
        time: Time::from_unix_nanos(i64::try_from(seq_num).unwrap() * 1_000_000_000),
    }
}

fn world() -> World {
    let mut job = Job { id: "j-1".into(), version: 1, ..Job::default() };
    job.state.state_type = JobState::Running;
    let mut execution =
        Execution { id: EXECUTION.into(), job_id: "j-1".into(), job_version: 1, ..Execution::default() };
    execution.compute_state.state_type = ComputeState::BidAccepted;
    World {
        jobs: vec![job],
        executions: vec![execution],
        history: vec![line(1, ""), line(2, EXECUTION)],
        ..World::default()
    }
}

fn seen(answer: &Answer) -> (String, Vec<u64>) {
    let json = answer.json();
    let items = json["Items"].as_array().unwrap();
    let numbers = items.iter().map(|item| item["SeqNum"].as_u64().unwrap()).collect();
    (json["NextToken"].as_str().unwrap().to_owned(), numbers)
}

#[tokio::test]
async fn a_reader_follows_a_job_to_its_end() {
    let (server, fake) = serve(Fake::new(world())).await;
    let next = |token: String| {
        let server = &server;
        async move { seen(&get(server, &format!("{HISTORY}?event_type=all&limit=10&next_token={token}")).await) }
    };
    let (token, numbers) = next(String::new()).await;
    assert_eq!(numbers, [1, 2]);
    // Nothing new: the same position again, as often as it is asked.
    let (again, numbers) = next(token.clone()).await;
    assert_eq!((again, numbers), (token.clone(), vec![]));
    fake.world().history.push(line(3, ""));
    let (token, numbers) = next(token).await;
    assert_eq!(numbers, [3]);
    {
        let mut world = fake.world();
        world.history.push(line(4, ""));
        world.jobs[0].state.state_type = JobState::Completed;
    }
    assert_eq!(next(token).await, (String::new(), vec![4]));
    // At the end pages still have tokens while there is more.
    let (token, numbers) = seen(&get(&server, &format!("{HISTORY}?limit=3")).await);
    assert_eq!((token.as_str(), numbers), ("Ok46Mzo0", vec![1, 2, 3]));
    assert_eq!(seen(&get(&server, &format!("{HISTORY}?next_token={token}")).await), (String::new(), vec![4]));
}

#[tokio::test]
async fn an_execution_has_an_end_of_its_own() {
    let (server, fake) = serve(Fake::new(world())).await;
    let path = format!("{HISTORY}?execution_id=e-1111");
    let (token, numbers) = seen(&get(&server, &path).await);
    assert_eq!((token.is_empty(), numbers), (false, vec![2]));
    fake.world().executions[0].compute_state.state_type = ComputeState::Completed;
    assert_eq!(seen(&get(&server, &path).await), (String::new(), vec![2]));
    let unknown = EXECUTION.replace('1', "2");
    let answer = get(&server, &format!("{HISTORY}?execution_id={unknown}")).await;
    assert_eq!((answer.status, answer.message()), (404, format!("execution not found: {unknown}")));
}

#[tokio::test]
async fn filters() {
    let (server, _) = serve(Fake::new(world())).await;
    for (query, numbers) in [
        ("?event_type=job", vec![1]),
        ("?event_type=execution", vec![2]),
        ("?since=2", vec![2]),
        ("?since=", vec![1, 2]),
        ("?job_version=7", vec![]),
        ("?job_version=7&all_job_versions=true", vec![]),
        ("?all_job_versions=true&order_by=x&reverse=1", vec![1, 2]),
    ] {
        assert_eq!(seen(&get(&server, &format!("{HISTORY}{query}")).await).1, numbers, "{query}");
    }
    let bad = get(&server, &format!("{HISTORY}?event_type=x")).await;
    assert!(bad.message().ends_with("failed on the 'oneof' tag"));
    assert_eq!(get(&server, &format!("{HISTORY}?since=-1")).await.status, 400);
}

#[tokio::test]
async fn old_clients_find_what_they_read() {
    let (server, _) = serve(Fake::new(world())).await;
    let old = "X-Bacalhau-Git-Version: v1.4.2\r\n";
    let full = ask(&server, "GET /api/v1/orchestrator/jobs/j-1?include=history", old, "").await.json();
    assert_eq!(full["History"]["Items"][0]["JobState"], serde_json::json!({}));
    assert_eq!(full["History"]["Items"][1]["ExecutionState"], serde_json::json!({}));
    let new = get(&server, "/api/v1/orchestrator/jobs/j-1?include=history").await;
    assert!(!new.body.contains("JobState"));
}
