//! Requests that are wrong, hostile or huge leave the cluster as it was.

use super::{Cluster, JOBS};
use crate::support::NODE_ID;
use crate::support::{Answer, ask, get, put, raw};
use serde_json::json;

/// The server still answers and reads its records.
async fn still_works(cluster: &Cluster, name: &str) {
    assert_eq!(get(&cluster.api, "/api/v1/agent/alive").await.status, 200, "{name}");
    assert_eq!(get(&cluster.api, JOBS).await.status, 200, "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_all_kinds() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let in_job = |field: &str, value: &str| format!("{{\"Job\":{{\"Name\":\"x\",\"{field}\":{value}}}}}");
    let params = |value: &str| {
        format!(
            "{{\"Job\":{{\"Tasks\":[{{\"Name\":\"a\",\"Engine\":{{\"Type\":\"wasm\",\"Params\":{{\"a\":{value}}}}}}}]}}}}"
        )
    };
    let bodies = [
        ("not JSON", "{".to_owned()),
        ("no text", "{\"Job\":{\"Name\":\"\\ud800\"}}".to_owned()),
        ("a list", "[1,2]".to_owned()),
        ("a number", "1e999".to_owned()),
        ("deep lists", deep("[", "]")),
        ("deep objects", deep("{\"a\":", "}")),
        ("deep lists in a job", in_job("Meta", &deep("[", "]"))),
        ("deep lists in an unknown field", in_job("Unknown", &deep("[", "]"))),
        ("deep lists in parameters", params(&deep("[", "]"))),
        ("an unfinished deep list", "[".repeat(10_000)),
        ("a negative count", in_job("Count", "-1")),
        ("a huge count", in_job("Count", "99999999999999999999")),
        ("an unknown type", in_job("Type", "\"sometimes\"")),
        ("a number for a type", in_job("Type", "7")),
        ("an unknown state", in_job("State", "{\"StateType\":\"Dancing\"}")),
        ("no tasks", in_job("Type", "\"batch\"")),
        ("an object for tasks", in_job("Tasks", "{}")),
    ];
    for (what, body) in bodies {
        for path in [JOBS.to_owned(), format!("{JOBS}/diff")] {
            let answer = put(&cluster.api, &path, &body).await;
            assert_eq!(answer.status, 400, "{what} to {path}: {answer:?}");
            assert!(!answer.message().is_empty(), "{what}");
        }
        still_works(&cluster, what).await;
    }
    // Nothing of it was taken.
    assert_eq!(get(&cluster.api, JOBS).await.json()["Items"], json!([]));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_nobody_knows() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let id = cluster.submit(cluster.job("one", "batch", "1")).await;
    cluster.until(&id, "Completed").await;
    let good = cluster.job("enums", "batch", "1");
    for (pointer, value) in [
        ("/Tasks/0/Network", json!({"Type": "Sometimes"})),
        ("/Tasks/0/Network", json!({"Type": 1})),
        ("/Tasks/0/Resources", json!({"CPU": "many"})),
        ("/Tasks/0/Timeouts", json!({"ExecutionTimeout": -1})),
        ("/Constraints", json!([{"Key": "a", "Operator": "near", "Values": ["b"]}])),
        ("/Type", json!("daemonic")),
    ] {
        let mut job = good.clone();
        match job.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None if pointer == "/Constraints" => job["Constraints"] = value.clone(),
            None => job["Tasks"][0][pointer.trim_start_matches("/Tasks/0/")] = value.clone(),
        }
        let answer = put(&cluster.api, JOBS, &json!({ "Job": job }).to_string()).await;
        assert_eq!(answer.status, 400, "{pointer} {value}: {answer:?}");
        still_works(&cluster, pointer).await;
    }
    let node = format!("/api/v1/orchestrator/nodes/{NODE_ID}");
    for body in ["{\"Action\":\"explode\"}", "{\"Action\":3}", "{}", "{"] {
        assert_eq!(put(&cluster.api, &node, body).await.status, 400, "{body}");
    }
    for path in [
        format!("{JOBS}?order_by=size"),
        format!("{JOBS}?reverse=maybe"),
        format!("{JOBS}?labels=a%20near%20b"),
        format!("{JOBS}/{id}/history?event_type=node"),
    ] {
        assert_eq!(get(&cluster.api, &path).await.status, 400, "{path}");
    }
    // Words that no node has are not errors, as clients of Bacalhau 1.9 know it.
    for query in ["filter-approval=maybe", "filter-status=asleep"] {
        let answer = get(&cluster.api, &format!("/api/v1/orchestrator/nodes?{query}")).await.json();
        assert_eq!(answer["Nodes"], json!([]), "{query}");
    }
    for path in
        [format!("{JOBS}/%00"), format!("{JOBS}/..%2f..%2fetc"), format!("{JOBS}/{}", "a".repeat(5000))]
    {
        assert_eq!(get(&cluster.api, &path).await.status, 404, "{path}");
    }
    cluster.submit(good).await;
    cluster.until("enums", "Completed").await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_and_sizes() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let job = json!({ "Job": cluster.job("typed", "batch", "1") }).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "x"] {
        let header = format!("Content-Type: {kind}\r\n");
        let answer = ask(&cluster.api, &format!("PUT {JOBS}"), &header, &job).await;
        assert_eq!(answer.status, 400, "{kind}: {answer:?}");
        assert!(answer.message().contains("code=415, message=Unsupported Media Type"), "{answer:?}");
        still_works(&cluster, kind).await;
    }
    let head =
        format!("PUT {JOBS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n");
    let mut huge = format!("{head}Content-Length: 11000000\r\n\r\n").into_bytes();
    huge.resize(huge.len() + 11_000_000, b' ');
    // The server answers and closes without reading it all; the answer may be lost to a client that goes on sending.
    let answer = raw(&cluster.api, &huge).await;
    assert!(answer.is_empty() || Answer::parse(&answer).status == 413);
    let declared = raw(&cluster.api, format!("{head}Content-Length: 11000000\r\n\r\n").as_bytes()).await;
    assert_eq!(Answer::parse(&declared).status, 413);
    still_works(&cluster, "huge").await;
    // Nine megabytes are no problem for the API; whether a job of that size can be sent to a node is the orchestrator's to say.
    let mut large = cluster.job("large", "batch", "1");
    large["Meta"] = json!({"text": "x".repeat(9_000_000)});
    let answer = put(&cluster.api, JOBS, &json!({ "Job": large }).to_string()).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert!(!answer.message().is_empty());
    let id = cluster.submit(cluster.job("after", "batch", "1")).await;
    cluster.until(&id, "Completed").await;
    cluster.shutdown().await;
}
