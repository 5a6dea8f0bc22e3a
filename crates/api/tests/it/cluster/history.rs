//! Histories of jobs that really run, read the way the command line reads them.

use super::{Cluster, JOBS};
use crate::support::NODE_ID;
use crate::support::{Answer, get};
use serde_json::Value;

/// Reads page after page until there is no token, as the client does that waits for a job. Gives all lines.
async fn follow(cluster: &Cluster, path: &str, query: &str) -> Vec<Value> {
    let (mut lines, mut token) = (Vec::new(), String::new());
    let deadline = std::time::Instant::now() + super::PATIENCE;
    loop {
        let answer = get(&cluster.api, &format!("{path}/history?{query}&next_token={token}")).await;
        let page = answer.json();
        lines.extend(page["Items"].as_array().unwrap().iter().cloned());
        token = page["NextToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            return lines;
        }
        assert!(std::time::Instant::now() < deadline, "no end after {lines:?}");
        if page["Items"].as_array().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["SeqNum"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_a_job_to_its_end() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    for (limit, name) in [(1, "one-by-one"), (2, "pairs"), (100, "at-once")] {
        let id = cluster.submit(cluster.job(name, "batch", "1")).await;
        let path = format!("{JOBS}/{id}");
        let lines = follow(&cluster, &path, &format!("limit={limit}&event_type=all")).await;
        assert_eq!(numbers(&lines), (1..=lines.len() as u64).collect::<Vec<_>>(), "{lines:?}");
        // What made the job final is the last line, and nothing comes after it.
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["Type"], &last["Event"]["Details"]["NewState"]),
            (&"JobLevel".into(), &"Completed".into())
        );
        let again = get(&cluster.api, &format!("{path}/history")).await.json();
        assert_eq!(again["Items"].as_array().unwrap(), &lines);
        assert_eq!(again["NextToken"], "");
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_has_a_next_page_and_an_end_when_stopped() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let id = cluster.submit(cluster.job("long", "service", "60")).await;
    let path = format!("{JOBS}/{id}");
    let execution = cluster.until_execution(&id, 5).await;
    let all = get(&cluster.api, &format!("{path}/history")).await.json();
    let token = all["NextToken"].as_str().unwrap().to_owned();
    assert!(!token.is_empty());
    let empty = get(&cluster.api, &format!("{path}/history?next_token={token}")).await.json();
    assert_eq!((&empty["Items"], &empty["NextToken"]), (&Value::Array(vec![]), &token.into()));
    // A shortened execution ID, as lists show it, finds the lines of that execution only.
    let short = &execution[..10];
    let of_one = get(&cluster.api, &format!("{path}/history?execution_id={short}")).await.json();
    let lines = of_one["Items"].as_array().unwrap();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["ExecutionID"] == *execution), "{of_one}");
    assert_ne!(of_one["NextToken"], "");
    let full = get(&cluster.api, &format!("{path}/history?execution_id={execution}")).await.json();
    assert_eq!(full, of_one);
    let stop = crate::support::ask(&cluster.api, &format!("DELETE {path}?reason=enough"), "", "").await;
    assert_eq!(stop.status, 200, "{stop:?}");
    let lines = follow(&cluster, &path, "limit=3").await;
    assert!(lines.iter().any(|line| line["Event"]["Details"]["Reason"] == "enough"), "{lines:?}");
    let lines = follow(&cluster, &path, &format!("execution_id={short}")).await;
    assert!(
        lines.last().unwrap()["Event"]["Message"].as_str().unwrap().contains("stop requested"),
        "{lines:?}"
    );
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_told() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let id = cluster.submit(cluster.job("one", "batch", "1")).await;
    cluster.until(&id, "Completed").await;
    let ask =
        async |query: &str| -> Answer { get(&cluster.api, &format!("{JOBS}/{id}/history?{query}")).await };
    for token in ["zzz", "%3A%3A%3A", "Ok46Mg", "Ok46LTE6LTE", "%ff", "Ok46OTk5OTk5OTk5OTk5OTk5OTk5OTk6MQ"] {
        assert_eq!(ask(&format!("next_token={token}")).await.status, 400, "{token}");
    }
    for query in ["event_type=jobs", "limit=-1", "limit=4294967296", "since=yesterday", "job_version=x"] {
        assert_eq!(ask(query).await.status, 400, "{query}");
    }
    let unknown = ask("execution_id=e-00000000-0000-4000-8000-000000000000").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert_eq!(ask("execution_id=e-000").await.json()["Items"], Value::Array(vec![]));
    // A version that never was, and a place after the end, have no lines and no next page.
    for query in ["job_version=9", "next_token=Ok46MDo5OTk5"] {
        let page = ask(query).await.json();
        assert_eq!((&page["Items"], &page["NextToken"]), (&Value::Array(vec![]), &"".into()), "{query}");
    }
    cluster.shutdown().await;
}
