//! Log streams, from the handshake to the close.

use crate::fake::{Fake, World};
use crate::support::{ask, get, serve, serve_within};
use bacalhau_api::server::{Limits, Running};
use bacalhau_model::{ClusterEvent, ComputeState, EncodedEvent, Error, Execution, Job, JobState};
use bacalhau_wire::logs::LogLine;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const LOGS: &str = "/api/v1/orchestrator/jobs/j-1/logs";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn line(stream: u8, text: &str) -> LogLine {
    LogLine { stream, time: 0, text: text.to_owned().into() }
}

fn world(state: ComputeState) -> World {
    let mut job = Job { id: "j-1".into(), name: "one".into(), version: 1, ..Job::default() };
    job.state.state_type = if state.is_terminal() { JobState::Completed } else { JobState::Running };
    let mut execution = Execution {
        id: "e-1".into(),
        job_id: "j-1".into(),
        job_version: 1,
        node_id: "n-1".into(),
        ..Execution::default()
    };
    execution.compute_state.state_type = state;
    let log = vec![line(1, "hello <out>\n"), line(2, "oops\n")];
    World { jobs: vec![job], executions: vec![execution], log, ..World::default() }
}

async fn open(server: &Running, path: &str) -> Socket {
    connect_async(format!("ws://{}{path}", server.addr)).await.unwrap().0
}

/// All frames until the end, which must be a normal one.
async fn read(mut socket: Socket) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            Message::Text(text) => frames.push(text.to_string()),
            Message::Close(Some(close)) => {
                assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, ""));
                return frames;
            }
            _ => {}
        }
    }
    panic!("no close after {frames:?}");
}

/// Waits for something that must come to pass.
async fn until(what: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(std::time::Instant::now() < deadline, "it did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lines_are_frames() {
    let (server, fake) = serve(Fake::new(world(ComputeState::Completed))).await;
    let frames = read(open(&server, &format!("{LOGS}?follow=true&tail=&all_job_versions=x0")).await).await;
    // The wrong boolean is told on the open stream.
    assert!(frames[0].starts_with("{\"error\":\"code=400, message=strconv.ParseBool:"), "{frames:?}");
    let frames = read(open(&server, &format!("{LOGS}?follow=true&tail=&execution_id=e-1")).await).await;
    assert_eq!(
        frames,
        [
            "{\"value\":{\"Type\":1,\"Line\":\"hello \\u003cout\\u003e\\n\"}}\n",
            "{\"value\":{\"Type\":2,\"Line\":\"oops\\n\"}}\n"
        ]
    );
    assert_eq!(
        fake.world().seen,
        [
            "logs n-1 LogRequest { execution_id: \"e-1\", follow: true, tail: false, last_lines: None, since: 0 }"
        ]
    );
}

#[tokio::test]
async fn errors_are_frames() {
    let (server, fake) = serve(Fake::new(world(ComputeState::BidAccepted))).await;
    let nosuch = open(&server, "/api/v1/orchestrator/jobs/nosuch/logs").await;
    assert_eq!(
        read(nosuch).await,
        ["{\"error\":\"job not found: nosuch\",\"value\":{\"Type\":0,\"Line\":\"\"}}\n"]
    );
    let other = read(open(&server, &format!("{LOGS}?execution_id=e-9")).await).await;
    assert!(other[0].contains(
        "failed to open log stream for job j-1: unable to find execution e-9 in job j-1 and job version 1"
    ));
    fake.world().log_error = Some(Error::plain("node n-1 is not connected"));
    let broken = read(open(&server, LOGS).await).await;
    assert_eq!(broken.len(), 3);
    assert!(broken[2].starts_with("{\"error\":\"node n-1 is not connected\""));
    fake.world().executions.clear();
    let none = read(open(&server, LOGS).await).await;
    assert!(none[0].contains("no executions found for job one with ID j-1, and version 1"), "{none:?}");
}

#[tokio::test]
async fn what_is_recorded_helps_when_the_node_is_gone() {
    let mut world = world(ComputeState::Failed);
    world.executions[0].run_output.stdout = "so far\n".into();
    world.log.clear();
    world.log_error = Some(Error::plain("gone"));
    let (server, _) = serve(Fake::new(world)).await;
    let frames = read(open(&server, LOGS).await).await;
    assert_eq!(frames, ["{\"value\":{\"Type\":1,\"Line\":\"so far\\n\"}}\n"]);
}

#[tokio::test]
async fn a_follower_waits_for_the_execution() {
    let mut world = world(ComputeState::BidAccepted);
    let execution = world.executions.pop().unwrap();
    let (server, fake) = serve(Fake::new(world)).await;
    let socket = open(&server, &format!("{LOGS}?follow=1")).await;
    until(|| fake.event_readers() == 1).await;
    // It is woken by what happens to its job.
    let event = ClusterEvent { seq_num: 1, ..ClusterEvent::of_execution(&execution) };
    fake.world().executions.push(execution);
    fake.happen(EncodedEvent::of(&event).unwrap());
    assert_eq!(read(socket).await.len(), 2);
}

#[tokio::test]
async fn a_follower_asks_again_when_the_node_has_not_heard_of_the_execution() {
    let mut world = world(ComputeState::New);
    let log = std::mem::take(&mut world.log);
    let (server, fake) = serve(Fake::new(world)).await;
    let socket = open(&server, &format!("{LOGS}?follow=1")).await;
    until(|| !fake.world().seen.is_empty()).await;
    fake.world().log = log;
    assert_eq!(read(socket).await.len(), 2);
}

#[tokio::test]
async fn pings_are_answered_and_leaving_is_noticed() {
    let mut world = world(ComputeState::BidAccepted);
    world.log_goes_on = true;
    let (server, fake) = serve(Fake::new(world)).await;
    let path = format!("{LOGS}?follow=true");
    // Several may watch the same execution.
    let (mut first, second) = (open(&server, &path).await, open(&server, &path).await);
    until(|| fake.logs_read() == 2).await;
    first.send(Message::Ping("hi".into())).await.unwrap();
    loop {
        match first.next().await.unwrap().unwrap() {
            Message::Pong(payload) => break assert_eq!(payload.as_ref(), b"hi"),
            other => assert!(other.is_text(), "{other:?}"),
        }
    }
    drop(second);
    until(|| fake.logs_read() == 1).await;
    first.close(None).await.unwrap();
    until(|| fake.logs_read() == 0).await;
}

#[tokio::test]
async fn the_end_of_the_server_is_told() {
    let mut world = world(ComputeState::BidAccepted);
    world.log_goes_on = true;
    let (server, fake) = serve(Fake::new(world)).await;
    let socket = open(&server, &format!("{LOGS}?follow=true")).await;
    until(|| fake.logs_read() == 1).await;
    let (frames, ()) = tokio::join!(read(socket), server.shutdown());
    assert!(frames.last().unwrap().contains("the server is stopping"), "{frames:?}");
}

#[tokio::test]
async fn handshakes_that_are_none() {
    let (server, _) = serve(Fake::new(world(ComputeState::Completed))).await;
    let plain = get(&server, LOGS).await;
    assert_eq!((plain.status, plain.message().as_str()), (426, "logs are a websocket stream"));
    assert_eq!(
        (plain.header("upgrade"), plain.header("sec-websocket-version")),
        (Some("websocket"), Some("13"))
    );
    let half =
        ask(&server, &format!("GET {LOGS}"), "Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\n", "").await;
    assert_eq!(half.status, 400);
}

#[tokio::test]
async fn streams_are_counted_and_clients_have_little_to_say() {
    let mut world = world(ComputeState::BidAccepted);
    world.log_goes_on = true;
    let limits = Limits { log_streams: 1, ..Limits::default() };
    let (server, fake) = serve_within(Fake::new(world), limits).await;
    let path = format!("{LOGS}?follow=true");
    let mut first = open(&server, &path).await;
    until(|| fake.logs_read() == 1).await;
    match connect_async(format!("ws://{}{path}", server.addr)).await {
        Err(WsError::Http(refusal)) => assert_eq!(refusal.status(), 503),
        other => panic!("{other:?}"),
    }
    // A huge message ends the stream instead of filling memory.
    let _ = first.send(Message::Binary(vec![0; 1 << 20].into())).await;
    until(|| fake.logs_read() == 0).await;
}
