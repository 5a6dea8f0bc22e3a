//! Commands against a server that is made up: what is asked, what is printed, how it ends.

use crate::bin::{Bacalhau, text};
use crate::fake::{Asked, Fake};
use std::io::Write;

const ID: &str = "j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d";
const EXECUTION: &str = "e-6e4f2db9-0f2c-4b7c-9a55-7d2f0c1f6b1e";

fn ok(body: impl Into<Vec<u8>>) -> (u16, Vec<u8>) {
    (200, body.into())
}

fn missing() -> (u16, Vec<u8>) {
    let body = r#"{"Status":404,"Message":"job not found: x","RequestID":"","Code":"NotFound","Component":"JobStore","Hint":"look elsewhere"}"#;
    (404, body.into())
}

fn job(state: &str) -> String {
    format!(
        r#"{{"ID":"{ID}","Name":"hello","Namespace":"default","Type":"batch","Count":1,"Tasks":[{{"Name":"main","Engine":{{"Type":"wasm"}},"Publisher":{{"Type":"local"}}}}],"State":{{"StateType":"{state}","Message":"why not"}},"Version":1,"CreateTime":1785598370323000000,"ModifyTime":1785598370323000000}}"#
    )
}

fn event(seq: u32, execution: &str, topic: &str, message: &str) -> String {
    let (kind, execution) = match execution {
        "" => ("JobLevel", String::new()),
        id => ("ExecutionLevel", format!(r#""ExecutionID":"{id}","#)),
    };
    format!(
        r#"{{"SeqNum":{seq},"Type":"{kind}","JobID":"{ID}",{execution}"Event":{{"Message":"{message}","Topic":"{topic}","Timestamp":"2026-08-01T15:32:50.{seq:03}Z"}},"Time":"2026-08-01T15:32:50Z"}}"#
    )
}

/// A server on which a job is submitted, runs and ends in `state`.
fn running(state: &'static str) -> Fake {
    Fake::start(move |asked: &Asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        match (asked.method.as_str(), path.strip_prefix("/api/v1/orchestrator/jobs").unwrap_or_default()) {
            ("PUT", "") => {
                ok(format!(r#"{{"JobID":"{ID}","EvaluationID":"x","Warnings":["mind the gap"]}}"#))
            }
            ("GET", rest) if rest.ends_with("/history") => {
                let page = |token: &str, items: Vec<String>| {
                    ok(format!(r#"{{"NextToken":"{token}","Items":[{}]}}"#, items.join(",")))
                };
                match asked.path.split_once("next_token=").map(|(_, token)| token.chars().next()) {
                    None => page("a", vec![event(1, "", "Submission", "Job submitted")]),
                    Some(Some('a')) => page("b", vec![]),
                    Some(Some('b')) => {
                        page("c", vec![event(2, EXECUTION, "Scheduling", "Requested execution on n-1")])
                    }
                    _ => page("", vec![event(3, EXECUTION, "Execution", "Completed successfully")]),
                }
            }
            ("GET", _) => ok(format!(r#"{{"Job":{}}}"#, job(state))),
            _ => missing(),
        }
    })
}

#[test]
fn a_job_is_submitted_and_watched() {
    let server = running("Completed");
    let bacalhau = Bacalhau::new();
    let file = bacalhau
        .file("job.yaml", "Name: {{.who}}\nType: batch\nTasks:\n- Name: main\n  Engine: {Type: wasm}\n");
    let output = bacalhau.run(&["--api-host", &server.url, "job", "run", &file, "-V", "who=hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = format!(
        "Job successfully submitted. Job ID: {ID}
Checking job status... (Enter Ctrl+C to exit at any time, your job will continue running):

 TIME          EXEC. ID    TOPIC            EVENT
 15:32:50.001              Submission       Job submitted
 15:32:50.002  e-6e4f2db9  Scheduling       Requested execution on n-1
 15:32:50.003  e-6e4f2db9  Execution        Completed successfully

To get more details about the run, execute:
\tbacalhau job describe {ID}

To get more details about the run executions, execute:
\tbacalhau job executions {ID}

To download the results, execute:
\tbacalhau job get {ID}
"
    );
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "Warning: mind the gap\n");
    let asked = server.asked();
    assert!(asked[0].body.contains(r#""Name":"hello""#), "{}", asked[0].body);
    assert!(asked[0].body.contains(r#""Count":1"#), "{}", asked[0].body);
}

#[test]
fn a_failed_job_fails_the_command() {
    let server = running("Failed");
    let bacalhau = Bacalhau::new();
    let line = ["--api-host", &server.url, "docker", "run", "--id-only", "ubuntu", "--", "false"];
    let output = bacalhau.run(&line);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
    assert!(text(&output.stderr).contains("Error: job failed: why not"), "{}", text(&output.stderr));
    let not_waiting = bacalhau.run(&["--api-host", &server.url, "docker", "run", "--wait=false", "ubuntu"]);
    assert_eq!((not_waiting.status.code(), text(&not_waiting.stdout)), (Some(0), format!("{ID}\n")));
}

#[test]
fn lists_and_descriptions() {
    let server = Fake::start(|asked| match asked.path.as_str() {
        path if path.starts_with("/api/v1/orchestrator/jobs?") => {
            ok(format!(r#"{{"NextToken":"more","Items":[{}]}}"#, job("Running")))
        }
        path if path.starts_with("/api/v1/orchestrator/jobs/hello") => {
            ok(format!(r#"{{"Job":{}}}"#, job("Running")))
        }
        _ => missing(),
    });
    let bacalhau = Bacalhau::new();
    let run = |line: &[&str]| bacalhau.run(&[&["--api-host", &server.url], line].concat());
    let list = run(&["job", "list"]);
    assert_eq!(
        text(&list.stdout),
        " CREATED   ID          NAME   JOB   TYPE   STATE\n 15:32:50  j-150c42eb  hello  wasm  batch  Running\n\nTo fetch more records use:\n\tbacalhau job list --limit 10 --next-token more\n"
    );
    assert!(server.asked()[0].path.contains("labels=bacalhau_canary+%21%3D+true"), "{:?}", server.asked());
    let json = run(&["job", "list", "--output", "json"]);
    assert!(text(&json.stdout).starts_with(r#"[{"ID":"j-150c42eb"#) && text(&json.stdout).ends_with("}]\n"));
    assert!(text(&json.stderr).contains("--next-token more"));
    let csv = run(&["job", "list", "--output", "csv", "--hide-header"]);
    assert_eq!(text(&csv.stdout), format!("2026-08-01 15:32:50,{ID},hello,wasm,batch,Running\n"));
    let described = text(&run(&["job", "describe", "hello"]).stdout);
    assert!(described.starts_with(&format!("ID            = {ID}\nName          = hello\n")), "{described}");
    let lost = run(&["job", "describe", "x"]);
    assert_eq!((lost.status.code(), text(&lost.stdout)), (Some(1), String::new()));
    assert_eq!(text(&lost.stderr), "\nError: job not found: x\nHint:  look elsewhere\n");
}

#[test]
fn a_job_is_stopped_unless_it_has_ended() {
    let server = Fake::start(|asked| match (asked.method.as_str(), asked.path.contains("done")) {
        ("DELETE", _) => ok(r#"{"EvaluationID":"e-v"}"#),
        (_, true) => ok(format!(r#"{{"Job":{}}}"#, job("Completed"))),
        (_, false) => ok(format!(r#"{{"Job":{}}}"#, job("Running"))),
    });
    let bacalhau = Bacalhau::new();
    let run = |line: &[&str]| bacalhau.run(&[&["--api-host", &server.url, "job", "stop"], line].concat());
    let stopped = text(&run(&["live"]).stdout);
    assert!(stopped.contains("\t  Verifying job state  ................  done ✅  0."), "{stopped}");
    assert!(stopped.ends_with("\nJob stop successfully submitted with evaluation ID: e-v\n"), "{stopped}");
    let ended = run(&["done"]);
    assert_eq!(ended.status.code(), Some(1));
    let complaint = "Error: Job is already in a terminal state.\nThe current state is: Completed\n";
    assert!(text(&ended.stderr).contains(complaint));
    let quiet = run(&["done", "--quiet"]);
    assert_eq!((quiet.status.code(), quiet.stdout.len(), quiet.stderr.len()), (Some(1), 0, 0));
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// A server with the results of two partitions, listed in the wrong order.
fn with_results() -> Fake {
    let own = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let url = std::sync::Arc::clone(&own);
    let fake = Fake::start(move |asked| {
        let url = url.get().cloned().unwrap_or_default();
        let result = |n: u32| format!(r#"{{"Type":"urlDownload","Params":{{"URL":"{url}/e-{n}.tar.gz"}}}}"#);
        match asked.path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/results") => {
                ok(format!(r#"{{"NextToken":"","Items":[{},{}]}}"#, result(1), result(0)))
            }
            path if path.ends_with("/executions") => {
                ok(r#"{"NextToken":"","Items":[{"ID":"e-1","PartitionIndex":1},{"ID":"e-0"}]}"#)
            }
            "/e-0.tar.gz" => ok(archive(&[("stdout", "zero\n"), ("exitCode", "0"), ("outputs/a.txt", "A")])),
            "/e-1.tar.gz" => ok(archive(&[("stdout", "one\n"), ("exitCode", "1"), ("outputs/b.txt", "B")])),
            _ => missing(),
        }
    });
    own.set(fake.url.clone()).unwrap();
    fake
}

#[test]
fn results_are_merged_by_partition() {
    let server = with_results();
    let bacalhau = Bacalhau::new();
    let output = bacalhau.run(&["--api-host", &server.url, "job", "get", "hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "Fetching results of job 'hello'...\n");
    let dir = bacalhau.dir().join("job-hello").canonicalize().unwrap();
    let said = format!("Results for job 'hello' have been written to...\n{}\n", dir.display());
    assert_eq!(text(&output.stdout), said);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!((read("stdout"), read("exitCode")), ("zero\none\n".to_owned(), "0\n1".to_owned()));
    assert_eq!((read("outputs/a.txt"), read("outputs/b.txt")), ("A".to_owned(), "B".to_owned()));
    assert!(!dir.join("raw").exists());
    // Nothing is overwritten the second time.
    let again = bacalhau.run(&["--api-host", &server.url, "job", "get", "hello"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("cannot merge results as output already exists"));
    assert!(!dir.join("raw").exists());
}

#[test]
fn one_file_or_raw_archives() {
    let server = with_results();
    let bacalhau = Bacalhau::new();
    let host = ["--api-host", server.url.as_str(), "job", "get"];
    let one = bacalhau.run(&[&host[..], &["hello/outputs/b.txt"]].concat());
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    let dir = bacalhau.dir().join("job-hello");
    assert_eq!(std::fs::read_to_string(dir.join("outputs/b.txt")).unwrap(), "B");
    assert!(!dir.join("stdout").exists());
    let none = bacalhau.run(&[&host[..], &["hello/nope"]].concat());
    assert!(text(&none.stderr).contains("the results have no nope"));
    let bad = bacalhau.run(&[&host[..], &["hello", "--output-dir", "nowhere"]].concat());
    assert!(text(&bad.stderr).contains("output dir does not exist: nowhere"));
    std::fs::create_dir(bacalhau.dir().join("here")).unwrap();
    let raw = bacalhau.run(
        &[&host[..], &["hello", "--output-dir", "here", "--raw", "--download-timeout-secs", "60"]].concat(),
    );
    assert_eq!(raw.status.code(), Some(0), "{}", text(&raw.stderr));
    assert!(
        bacalhau.dir().join("here/raw/e-0.tar.gz").is_file()
            && bacalhau.dir().join("here/raw/e-1.tar.gz").is_file()
    );
}

#[test]
fn nodes_are_managed() {
    let server = Fake::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", path) if path.ends_with("/n-1") => ok(r#"{"Success":true}"#),
        ("GET", path) if path.starts_with("/api/v1/orchestrator/nodes?filter-approval=pending") => ok(
            r#"{"NextToken":"","Nodes":[{"Info":{"NodeID":"n-1","NodeType":"Compute"},"Membership":"PENDING","Connection":"CONNECTED","ConnectionState":{"Status":"CONNECTED"}}]}"#,
        ),
        _ => missing(),
    });
    let bacalhau = Bacalhau::new();
    let run = |line: &[&str]| bacalhau.run(&[&["--api-host", &server.url, "node"], line].concat());
    let list = run(&["list", "--filter-approval", "pending", "--show", "labels"]);
    assert_eq!(
        text(&list.stdout),
        " ID   TYPE     APPROVAL  STATUS     LABELS\n n-1  Compute  PENDING   CONNECTED\n"
    );
    assert_eq!(text(&run(&["approve", "n-1", "-m", "fine"]).stdout), "Ok\n");
    let asked = server.asked();
    assert!(asked.last().unwrap().body.contains(r#""Action":"approve","Message":"fine""#), "{asked:?}");
    assert!(text(&run(&["list", "--filter-status", "asleep"]).stderr).contains("cannot use 'asleep'"));
}

#[test]
fn following_ends_with_the_output_and_the_reason() {
    let server = Fake::start(|asked| match asked.path.split('?').next().unwrap_or_default() {
        "/api/v1/orchestrator/jobs" => ok(format!(r#"{{"JobID":"{ID}"}}"#)),
        path if path.ends_with("/executions") => ok(format!(
            r#"{{"NextToken":"","Items":[{{"ID":"{EXECUTION}","ComputeState":{{"StateType":10}},"RunOutput":{{"Stdout":"half\n","stderr":"oh no\n"}}}}]}}"#
        )),
        path if path.ends_with("/logs") => missing(),
        _ => ok(format!(r#"{{"Job":{}}}"#, job("Failed"))),
    });
    let bacalhau = Bacalhau::new();
    let file = bacalhau.file("job.yaml", "Type: batch\nTasks:\n- Name: main\n  Engine: {Type: wasm}\n");
    let output = bacalhau.run(&["--api-host", &server.url, "job", "run", "-f", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).ends_with("will continue running):\n\nhalf\n"), "{}", text(&output.stdout));
    let expected = format!("oh no\n\nError: job failed: why not\nHint:  see `bacalhau job history {ID}`\n");
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn waiting_ends_when_the_user_said() {
    let server = Fake::start(|asked| match asked.path.split('?').next().unwrap_or_default() {
        "/api/v1/orchestrator/jobs" => ok(format!(r#"{{"JobID":"{ID}"}}"#)),
        path if path.ends_with("/history") => ok(r#"{"NextToken":"x","Items":[]}"#),
        _ => ok(format!(r#"{{"Job":{}}}"#, job("Running"))),
    });
    let bacalhau = Bacalhau::new();
    let output =
        bacalhau.run(&["--api-host", &server.url, "docker", "run", "--wait-timeout-secs", "1", "ubuntu"]);
    assert_eq!(output.status.code(), Some(0));
    let warning = "Warning: Progress tracking timed out after 1s. The job is still running.\n";
    assert_eq!(text(&output.stderr), warning);
    assert!(text(&output.stdout).contains(&format!("\tbacalhau job describe {ID}\n")));
}
