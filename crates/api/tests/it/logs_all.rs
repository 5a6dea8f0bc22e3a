//! Log streams with what was added to Bacalhau 1.9: all executions at once, times, remarks, going on after a break.

use crate::fake::{Fake, World};
use crate::support::serve;
use bacalhau_api::server::Running;
use bacalhau_model::{
    ClusterEvent, ComputeState, Connection, EncodedEvent, Error, Execution, Job, JobState, NodeState, Time,
};
use bacalhau_wire::logs::LogLine;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const ALL: &str = "/api/v1/orchestrator/jobs/j-1/logs?details=true&all_executions=true";
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn line(stream: u8, time: i64, text: &str) -> LogLine {
    LogLine { stream, time, text: text.to_owned().into() }
}

fn execution(id: &str, partition: i64, state: ComputeState) -> Execution {
    let mut execution = Execution {
        id: id.into(),
        job_id: "j-1".into(),
        job_version: 1,
        node_id: "n-1".into(),
        partition_index: partition,
        attempt: 1,
        ..Execution::default()
    };
    execution.compute_state.state_type = state;
    execution
}

fn world(executions: Vec<Execution>, state: JobState) -> World {
    let mut job = Job { id: "j-1".into(), name: "one".into(), version: 1, ..Job::default() };
    job.r#type = "batch".into();
    job.state.state_type = state;
    let log = vec![line(1, 7, "a\n"), line(1, 8, "b\n"), line(2, 9, "c\n")];
    World { jobs: vec![job], executions, log, ..World::default() }
}

async fn open(server: &Running, path: &str) -> Socket {
    connect_async(format!("ws://{}{path}", server.addr)).await.unwrap().0
}

/// Frames until the end; a message may hold several.
async fn read(mut socket: Socket) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Some(message) = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
        match message.unwrap() {
            Message::Text(text) => {
                frames.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()))
            }
            Message::Close(_) => return frames,
            _ => {}
        }
    }
    panic!("no close after {frames:?}");
}

/// Execution and text of what was printed.
fn output(frames: &[Value]) -> Vec<(&str, &str)> {
    let printed = frames.iter().filter(|frame| frame["value"]["Type"] != 0);
    printed.map(|f| (f["ExecutionID"].as_str().unwrap(), f["value"]["Line"].as_str().unwrap())).collect()
}

fn notes(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["note"]["Message"].as_str()).collect()
}

#[tokio::test]
async fn frames_say_whose_output_it_is_and_from_when() {
    let executions =
        vec![execution("e-2", 1, ComputeState::Completed), execution("e-1", 0, ComputeState::Completed)];
    let (server, fake) = serve(Fake::new(world(executions, JobState::Completed))).await;
    let frames = read(open(&server, ALL).await).await;
    assert_eq!(frames[0]["job"], serde_json::json!({"ID": "j-1", "Many": true}));
    assert_eq!(
        frames[1]["execution"],
        serde_json::json!({"ID": "e-1", "NodeID": "n-1", "JobVersion": 1, "PartitionIndex": 0, "Attempt": 1})
    );
    // Neighbours of a stream are one frame, with the time of the newest.
    assert_eq!(output(&frames), [("e-1", "a\nb\n"), ("e-1", "c\n"), ("e-2", "a\nb\n"), ("e-2", "c\n")]);
    assert_eq!(frames[2]["Time"], "1970-01-01T00:00:00.000000008Z");
    // Unless every time is wanted.
    let frames = read(
        open(&server, &format!("{ALL}&timestamps=1&tail_lines=5&since=1970-01-01T00:00:00.000000003Z")).await,
    )
    .await;
    assert_eq!(output(&frames).len(), 6);
    let seen = fake.world().seen.last().cloned().unwrap();
    assert!(seen.ends_with("last_lines: Some(5), since: 3 }"), "{seen}");
    let frames = read(open(&server, &format!("{ALL}&since=yesterday")).await).await;
    assert!(frames[0]["error"].as_str().unwrap().contains("since"), "{frames:?}");
}

#[tokio::test]
async fn executions_join_while_followed_and_the_job_s_end_is_the_end() {
    let (server, fake) = serve(Fake::new(world(Vec::new(), JobState::Pending))).await;
    let socket = open(&server, &format!("{ALL}&follow=1")).await;
    let reading = tokio::spawn(read(socket));
    let deadline = std::time::Instant::now() + PATIENCE;
    while fake.event_readers() == 0 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut failed = execution("e-3", 0, ComputeState::Failed);
    failed.compute_state.message = "boom".into();
    let mut job = fake.world().jobs[0].clone();
    job.state.state_type = JobState::Failed;
    let happens = [
        ClusterEvent::of_execution(&execution("e-1", 0, ComputeState::New)),
        ClusterEvent::of_execution(&execution("e-1", 0, ComputeState::BidAccepted)),
        ClusterEvent::of_execution(&failed),
        ClusterEvent::of_job(&job),
    ];
    for event in happens {
        fake.happen(EncodedEvent::of(&event).unwrap());
        tokio::task::yield_now().await;
    }
    let frames = reading.await.unwrap();
    assert_eq!(output(&frames), [("e-1", "a\nb\n"), ("e-1", "c\n")]);
    let notes = notes(&frames);
    assert!(notes[0].starts_with("job j-1 has no executions yet (Pending)"), "{notes:?}");
    assert!(notes.contains(&"execution e-3 failed: boom"), "{notes:?}");
}

#[tokio::test]
async fn a_client_that_comes_again_goes_on_where_it_was() {
    let executions = vec![execution("e-1", 0, ComputeState::Completed)];
    let (server, fake) = serve(Fake::new(world(executions, JobState::Completed))).await;
    let mut socket = open(&server, &format!("{ALL}&tail_lines=2&resume=true")).await;
    socket.send(Message::text(r#"{"Cursors":{"e-1":8}}"#)).await.unwrap();
    read(socket).await;
    let seen = fake.world().seen.last().cloned().unwrap();
    assert!(seen.ends_with("last_lines: None, since: 9 }"), "{seen}");
    let mut socket = open(&server, &format!("{ALL}&resume=true")).await;
    socket.send(Message::text("nonsense")).await.unwrap();
    assert!(read(socket).await[0]["error"].as_str().unwrap().contains("where to go on"));
}

#[tokio::test]
async fn a_node_that_is_gone_is_named_and_results_are_pointed_at() {
    let mut done = execution("e-1", 0, ComputeState::Completed);
    done.published_result = bacalhau_model::SpecConfig::new("urlDownload").with("URL", "http://n/e-1.tar.gz");
    let mut world = world(vec![done, execution("e-2", 1, ComputeState::BidAccepted)], JobState::Running);
    world.log.clear();
    world.log_error = Some(Error::plain("nobody answers").retryable());
    let mut node = NodeState::default();
    node.info.node_id = "n-1".into();
    node.connection_state.status = Connection::Disconnected;
    node.connection_state.disconnected_since = Time::from_unix_nanos(1);
    world.nodes = vec![node];
    let (server, fake) = serve(Fake::new(world)).await;
    let frames = read(open(&server, ALL).await).await;
    let notes = notes(&frames);
    let words = "node n-1 is not connected since 1970-01-01T00:00:00.000000001Z";
    assert!(notes[0].contains(words) && notes[0].contains("shown from published results"), "{notes:?}");
    assert!(notes[1].contains(words) && notes[1].contains("Start the node again"), "{notes:?}");
    let result = frames.iter().find_map(|frame| frame["note"].get("PublishedResult")).unwrap();
    assert_eq!(result["Params"]["URL"], "http://n/e-1.tar.gz");

    // Where nothing else can be shown it is an error, and no client is asked to try again at once.
    let frames = read(open(&server, &format!("{ALL}&execution_id=e-2")).await).await;
    let error = frames.last().unwrap();
    assert!(error["error"].as_str().unwrap().contains(words) && error.get("retryable").is_none(), "{error}");

    // A client of Bacalhau 1.9 gets the words as an error.
    fake.world().nodes.clear();
    let frames = read(open(&server, "/api/v1/orchestrator/jobs/j-1/logs?execution_id=e-2").await).await;
    assert!(frames[0]["error"].as_str().unwrap().starts_with("node n-1 has left the cluster"), "{frames:?}");
}
