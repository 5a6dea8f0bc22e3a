//! Submitting, changing and reading jobs: what reaches the cluster and what comes back.

use crate::fake::{Fake, World};
use crate::support::{Answer, ask, get, put, raw, serve};
use bacalhau_model::{Error, Execution, Job};

const JOBS: &str = "/api/v1/orchestrator/jobs";

fn job(id: &str, name: &str, version: u64) -> Job {
    let namespace = "default".to_owned();
    Job { id: id.into(), name: name.into(), namespace, r#type: "batch".into(), version, ..Job::default() }
}

fn world() -> World {
    let execution = |id: &str, job_version| Execution {
        id: id.into(),
        job_id: "j-1".into(),
        job_version,
        ..Execution::default()
    };
    let mut other = job("j-2", "two", 1);
    other.namespace = "other".into();
    World {
        jobs: vec![job("j-1", "one", 1), job("j-1", "one", 2), other],
        executions: vec![execution("e-1", 1), execution("e-2", 2), execution("e-3", 2)],
        job_id: "j-9".into(),
        evaluation_id: "e".into(),
        ..World::default()
    }
}

#[tokio::test]
async fn submissions_arrive_as_clients_write_them() {
    let (server, fake) = serve(Fake::new(world())).await;
    let body = r#"{"namespace":"","FORCE":true,"job":{"NAME":"a","type":"batch","tasks":[{"name":"main","Colour":1}],
        "State":{"StateType":"Undefined"},"CreateTime":0}} and more"#;
    let headers = "X-Bacalhau-InstanceID: inst\r\nX-Bacalhau-InstallationID: install\r\n";
    let answer = ask(&server, &format!("PUT {JOBS}?Force=false&namespace=x"), headers, body).await;
    assert!(
        answer
            .body
            .starts_with("{\"JobID\":\"j-9\",\"EvaluationID\":\"e\",\"Warnings\":[\"unknown field 'Colour'"),
        "{answer:?}"
    );
    let chunked = format!(
        "POST {JOBS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n\
         Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"Job\":{{\r\nc\r\n\"Name\":\"b\"}}}}\r\n0\r\n\r\n"
    );
    let answer = Answer::parse(&raw(&server, chunked.as_bytes()).await);
    assert_eq!(answer.body, "{\"JobID\":\"j-9\",\"EvaluationID\":\"e\",\"Warnings\":null}\n");
    assert_eq!(fake.world().seen, ["submit a x1 force=true inst install", "submit b x0 force=false  "]);
}

#[tokio::test]
async fn bodies_that_make_no_sense() {
    let (server, fake) = serve(Fake::new(world())).await;
    for (body, beginning) in [
        ("", "empty/nil job"),
        ("null", "empty/nil job"),
        ("{\"Job\":null}", "empty/nil job"),
        (" ", "code=400, message=EOF"),
        ("[]", "code=400, message=Unmarshal type error: expected=object, got=array"),
        ("{\"Job\":3}", "code=400, message=Unmarshal type error: expected=object, got=number, field="),
        (
            "{\"Job\":{\"Name\":1}}",
            "code=400, message=Unmarshal type error: expected=string, got=number, field=Name",
        ),
        ("{\"Job\":{\"Count\":1.0}}", "code=400, message=Unmarshal type error: expected=int"),
        (
            "{\"Job\":{},\"Force\":\"yes\"}",
            "code=400, message=Unmarshal type error: expected=bool, got=string",
        ),
        ("{\"Job\":", "code=400, message=unexpected EOF"),
    ] {
        let answer = put(&server, JOBS, body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.message().starts_with(beginning), "{body}: {answer:?}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let answer = ask(&server, &format!("PUT {JOBS}"), &format!("Content-Type: {kind}\r\n"), "{}").await;
        assert!(answer.message().contains("code=415, message=Unsupported Media Type"), "{kind}: {answer:?}");
    }
    let deep = format!("{{\"Job\":{}", "[".repeat(200_000));
    assert!(put(&server, JOBS, &deep).await.message().contains("recursion limit"));
    assert!(fake.world().seen.is_empty());
}

#[tokio::test]
async fn deleting_a_record() {
    let (server, fake) = serve(Fake::new(world())).await;
    let delete = |rest: &str| format!("DELETE {JOBS}/{rest}");
    assert_eq!(ask(&server, &delete("one/record"), "", "").await.body, "{\"JobID\":\"j-1\"}\n");
    // A name is looked up in the namespace only.
    let lost = ask(&server, &delete("two/record"), "", "").await;
    assert_eq!((lost.status, lost.message().as_str()), (404, "job not found: two"));
    ask(&server, &delete("two/record?namespace=other"), "", "").await;
    assert_eq!(fake.world().seen, ["delete j-1", "delete j-2"]);
    fake.world().error = Some(Error::new("ConflictJobState", "not finished").status(409));
    assert_eq!(ask(&server, &delete("one/record"), "", "").await.status, 409);
    assert_eq!(get(&server, &format!("{JOBS}/one/record")).await.status, 404);
}

#[tokio::test]
async fn stop_rerun_and_diff() {
    let (server, fake) = serve(Fake::new(world())).await;
    let delete = format!("DELETE {JOBS}/one");
    let go = r#"{"Namespace":"","Credential":null,"IdempotencyToken":"","reason":"enough"}"#;
    assert_eq!(ask(&server, &delete, "", go).await.body, "{\"EvaluationID\":\"e\"}\n");
    let query = format!("DELETE {JOBS}/j-1?reason=User%20requested%20stop");
    ask(&server, &query, "", "").await;
    ask(&server, &format!("DELETE {JOBS}/j-1?reason=None"), "", "{}").await;
    // A name is looked up in the namespace only.
    assert_eq!(ask(&server, &format!("DELETE {JOBS}/two"), "", "").await.status, 404);
    ask(&server, &format!("DELETE {JOBS}/two?namespace=other"), "", r#"{"Namespace":"other"}"#).await;
    let rerun = put(&server, &format!("{JOBS}/one/rerun"), "{\"JobVersion\":1}").await;
    assert_eq!(rerun.body, "{\"EvaluationID\":\"e\",\"JobID\":\"j-1\",\"JobVersion\":0,\"Warnings\":null}\n");
    let missing = put(&server, &format!("{JOBS}/one/rerun"), "{\"JobVersion\":7}").await;
    assert_eq!((missing.status, missing.message().as_str()), (404, "job version 7 not found for job j-1"));
    assert_eq!(put(&server, &format!("{JOBS}/nosuch/rerun"), "{}").await.message(), "job not found: nosuch");
    let nameless = put(&server, &format!("{JOBS}/diff"), "{\"Job\":{}}").await;
    assert_eq!((nameless.status, nameless.message().as_str()), (400, "invalid job spec: name is missing"));
    put(&server, &format!("{JOBS}/diff"), "{\"Job\":{\"Name\":\"one\"}}").await;
    assert_eq!(get(&server, &format!("{JOBS}/diff")).await.message(), "job not found: diff");
    assert_eq!(
        fake.world().seen,
        [
            "stop j-1 enough",
            "stop j-1 User requested stop",
            "stop j-1 ",
            "stop j-2 ",
            "rerun j-1 1",
            "diff one"
        ]
    );
}

#[tokio::test]
async fn errors_keep_all_they_say() {
    let error =
        Error::new("Odd", "went <wrong>").component("Part").hint("do this").detail("a", "b").status(418);
    let (server, _) = serve(Fake::new(World { error: Some(error), ..world() })).await;
    let answer = ask(&server, &format!("GET {JOBS}/x"), "X-Request-ID: r1\r\n", "").await;
    assert_eq!(
        answer.body,
        "{\"Status\":418,\"Message\":\"went \\u003cwrong\\u003e\",\"RequestID\":\"r1\",\"Code\":\"Odd\",\
         \"Component\":\"Part\",\"Hint\":\"do this\",\"Details\":{\"a\":\"b\"}}\n"
    );
}

#[tokio::test]
async fn reading_jobs() {
    let (server, _) = serve(Fake::new(world())).await;
    let ids = |answer: Answer, of: &str| -> Vec<String> {
        let json = answer.json();
        let items = json[of]["Items"].as_array().or(json["Items"].as_array()).unwrap().clone();
        items.iter().map(|item| item["ID"].as_str().unwrap().to_owned()).collect()
    };
    // What Python's client sends.
    let python = get(&server, &format!("{JOBS}?limit=&next_token=&reverse=False&order_by=created_at")).await;
    assert_eq!(ids(python, ""), ["j-1", "j-1", "j-2"]);
    assert_eq!(ids(get(&server, &format!("{JOBS}?namespace=other")).await, ""), ["j-2"]);
    assert_eq!(ids(get(&server, &format!("{JOBS}?namespace=*")).await, "").len(), 3);
    let page = get(&server, &format!("{JOBS}?limit=2&reverse=1")).await;
    let token = page.json()["NextToken"].as_str().unwrap().to_owned();
    assert_eq!(token, "Olk6Mjoy");
    let rest = get(&server, &format!("{JOBS}?limit=9&next_token={token}")).await;
    assert_eq!((rest.json()["NextToken"].as_str(), ids(rest, "").len()), (Some(""), 1));
    let bad = get(&server, &format!("{JOBS}?order_by=id")).await;
    assert_eq!((bad.status, bad.message().as_str()), (400, "invalid order_by: id"));
    let full = get(&server, &format!("{JOBS}/one?include=executions,%20history,x&limit=1")).await;
    assert_eq!(full.json()["History"]["Items"], serde_json::json!([]));
    assert_eq!(ids(full, "Executions"), ["e-2", "e-3"]);
    let old = get(&server, &format!("{JOBS}/one?include=executions&job_version=1")).await;
    assert_eq!((old.json()["Job"]["Version"].as_u64(), ids(old, "Executions").len()), (Some(1), 1));
    let lean = get(&server, &format!("{JOBS}/one?include=")).await.json();
    assert!(lean.get("History").is_none() && lean.get("Executions").is_none());
    let executions = get(&server, &format!("{JOBS}/one/executions?limit=1&order_by=odd")).await;
    let token = executions.json()["NextToken"].as_str().unwrap().to_owned();
    assert_eq!(ids(executions, ""), ["e-2"]);
    assert_eq!(ids(get(&server, &format!("{JOBS}/one/executions?next_token={token}")).await, ""), ["e-3"]);
    let all = get(&server, &format!("{JOBS}/one/executions?all_job_versions=True")).await;
    assert_eq!(ids(all, "").len(), 3);
    assert_eq!(ids(get(&server, &format!("{JOBS}/one/versions")).await, ""), ["j-1", "j-1"]);
    assert_eq!(
        get(&server, &format!("{JOBS}/one/results")).await.body,
        "{\"NextToken\":\"\",\"Items\":[]}\n"
    );
}

#[tokio::test]
async fn links_in_results_stay_readable() {
    let results =
        serde_json::from_str(r#"[{"Type":"s3PreSigned","Params":{"PreSignedURL":"https://b?a=1&c=<2>"}}]"#);
    let (server, _) = serve(Fake::new(World { results: results.unwrap(), ..world() })).await;
    assert!(get(&server, &format!("{JOBS}/one/results")).await.body.contains("https://b?a=1&c=<2>"));
}
